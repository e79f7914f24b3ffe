package main

import (
	"fmt"
	"strings"

	"plane"
	"plane/client"
)

// What this file says of ends, all verbs say, in the words that the
// controller's stories have.

// generationText is a generation for people: its counter, and where a restored
// store began to count anew, the epoch.
func generationText(g plane.Generation) string {
	return g.Short()
}

// exitText says in a few words how a backend ended; "" if it didn't.
func exitText(x *client.Exit) string {
	if x == nil {
		return ""
	}
	end := plane.Exit{Code: x.Code, OOM: x.OOM}
	if x.Signal != nil {
		end.Signal = *x.Signal
	}
	switch x.Reason {
	case plane.Lost:
		return "lost: " + x.Reason.Phrase()
	case "":
		if x.Message != "" && x.Code == nil && end.Signal == "" {
			return "it never ran: " + strings.TrimSuffix(x.Message, ".")
		}
		return "by itself " + end.How()
	}
	return end.How() + ", because " + x.Reason.Phrase()
}

// entryText is what a status entry says beside its status.
func entryText(e client.StatusEntry) string {
	var notes []string
	if e.TerminationReason != "" {
		notes = append(notes, e.TerminationReason.Phrase())
	}
	switch {
	case e.TerminationReason != "": // who is asked to end may end anyhow
	case e.Message != "":
		notes = append(notes, strings.ToLower(e.Message[:1])+strings.TrimSuffix(e.Message[1:], "."))
	case e.ExitError != nil && *e.ExitError:
		notes = append(notes, "it exited with an error")
	}
	if len(notes) == 0 {
		return ""
	}
	return ": " + strings.Join(notes, "; ")
}

// appText is an app for people; what no app started has none.
func appText(b client.Backend) string {
	if b.App == "" {
		if b.Release == 0 {
			return ""
		}
		return fmt.Sprintf("unnamed, release %d", b.Release)
	}
	return fmt.Sprintf("%s, release %d", b.App, b.Release)
}
