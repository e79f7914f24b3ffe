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
	counter := int64(g) & (1<<32 - 1)
	if g.Epoch() > 1 {
		return fmt.Sprintf("#%d of epoch %d", counter, g.Epoch())
	}
	return fmt.Sprintf("#%d", counter)
}

// exitText says in a few words how a backend ended; "" if it didn't.
func exitText(x *client.Exit) string {
	switch {
	case x == nil:
		return ""
	case x.Reason == plane.Lost:
		return "lost: " + reasonText(x.Reason)
	case x.Reason == "":
		return "by itself " + exitHow(*x)
	}
	return exitHow(*x) + ", because " + reasonText(x.Reason)
}

func exitHow(x client.Exit) string {
	switch {
	case x.OOM:
		return "because it used more memory than its limit"
	case x.Signal != nil && *x.Signal != "":
		return "by " + *x.Signal
	case x.Code == nil:
		return "with an unknown exit code"
	}
	return fmt.Sprintf("with exit code %d", *x.Code)
}

// reasonText says why a backend was made to end.
func reasonText(r plane.Reason) string {
	switch r {
	case plane.Swept:
		return "it was idle, or at its lifetime limit"
	case plane.External:
		return "someone asked for it"
	case plane.KeyExpired:
		return "its drone's lease ran out"
	case plane.Lost:
		return "nothing of it was found"
	case plane.StartupTimeout:
		return "it wasn't ready in time"
	case plane.InternalError:
		return "watching it failed"
	case "":
		return "it ended by itself"
	}
	return string(r)
}

// entryText is what a status entry says beside its status.
func entryText(e client.StatusEntry) string {
	var notes []string
	if e.TerminationReason != "" {
		notes = append(notes, reasonText(e.TerminationReason))
	}
	if e.TerminationReason == "" && e.ExitError != nil && *e.ExitError { // who is asked to end may end anyhow
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
