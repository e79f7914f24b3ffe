package controller

import (
	"fmt"
	"strings"
	"time"

	"plane"
	"plane/internal/store"
)

// endSentence tells how a backend ended, as far as its state says.
func endSentence(s plane.State) string { return endTold(s, s.Reason.Phrase()) }

// endTold tells how a backend ended, and why in the words of because.
func endTold(s plane.State, because string) string {
	var x plane.Exit
	if s.Exit != nil {
		x = *s.Exit
	}
	switch {
	case s.Reason == plane.Lost && x.Message != "":
		return fmt.Sprintf("Lost: %s.", x.Message)
	case s.Reason == plane.Lost:
		return "Lost: nothing of it was found, or its drone's lease lapsed."
	case refused(s):
		return x.Message
	case s.Reason == "" && x.Message != "" && !ran(s):
		return "It never ran: " + asSentence(x.Message)
	case s.Reason == "":
		return "Ended by itself " + x.How() + "."
	}
	return fmt.Sprintf("Ended %s, because %s.", x.How(), because)
}

// ran reports whether the program of one that has ended was begun.
func ran(s plane.State) bool { return s.LastStatus.Order() >= plane.Waiting.Order() }

// askedBy finds who or what asked for a backend's end, among the latest events
// of its key, newest first: as the end of a sentence, or "".
func askedBy(events []store.Event, id plane.BackendID) string {
	for _, e := range events {
		if e.Backend != id {
			continue
		}
		switch e.Kind {
		case eventTerminate:
			return actorPhrase(e.Actor) + " asked for it"
		case eventReplace:
			return strings.ToLower(e.Text[:1]) + strings.TrimSuffix(e.Text[1:], ".")
		}
	}
	return ""
}

// because tells why b was made to end, at that time: more exactly than its
// reason alone, where its spec and the log know more.
func because(b store.Backend, s plane.State, at time.Time, events []store.Event) string {
	switch s.Reason {
	case plane.External:
		if by := askedBy(events, b.ID); by != "" {
			return by
		}
	case plane.Swept:
		n := b.Spec.LifetimeLimit
		switch {
		case n != nil && at.Sub(b.CreatedAt) >= time.Duration(*n)*time.Second:
			return fmt.Sprintf("it reached its lifetime limit of %s", seconds(*n))
		case b.Spec.MaxIdle != nil:
			return fmt.Sprintf("nobody used it for %s", seconds(*b.Spec.MaxIdle))
		}
	case plane.StartupTimeout:
		return fmt.Sprintf("it wasn't ready within %s", b.Spec.StartLimit())
	}
	return s.Reason.Phrase()
}

func seconds(n int32) string { return (time.Duration(n) * time.Second).String() }

// actorPhrase is an actor of the log, within a sentence.
func actorPhrase(actor string) string {
	kind, name, _ := strings.Cut(actor, " ")
	switch {
	case kind == "operator":
		return "the operator"
	case kind == "loopback":
		return "someone on this machine"
	case kind == "api-key":
		return "API key " + name
	case kind == "node" && strings.HasPrefix(name, string(plane.PrefixProxy)):
		return "a visitor of its address"
	case actor == "":
		return "someone"
	}
	return actor
}

// pastSentence tells the life of one generation. events are the key's latest.
func pastSentence(b store.Backend, events []store.Event) string {
	text := "Started"
	if b.Release > 0 {
		text += fmt.Sprintf(" as release %d of %s", b.Release, calledApp(b.App))
	}
	if d := b.State.Digest; d != "" {
		text += fmt.Sprintf(" from image %s", shortDigest(d))
	}
	text += fmt.Sprintf(" on %s by %s", b.Drone, actorPhrase(b.Actor))
	s := b.State
	if b.ReadyAt.IsZero() {
		if s.Status != plane.Terminated {
			return fmt.Sprintf("%s; %s now.", text, s.Status)
		}
		text = fmt.Sprintf("%s; never ready. %s", text, endTold(s, because(b, s, b.StateAt, events)))
		if s.Reason == plane.StartupTimeout {
			text += " " + mustListen(b.Spec)
		}
		return text
	}
	text += fmt.Sprintf("; ready after %s", span(b.ReadyAt.Sub(b.CreatedAt)))
	switch {
	case s.Status == plane.Terminated:
		return fmt.Sprintf("%s; lived %s. %s", text, span(b.StateAt.Sub(b.CreatedAt)), endTold(s, because(b, s, b.StateAt, events)))
	case s.Status.Ending():
		return fmt.Sprintf("%s; asked to end, because %s.", text, because(b, s, b.StateAt, events))
	}
	return text + "; running."
}

// shortDigest is enough of a digest to tell images apart.
func shortDigest(d string) string {
	const hex = 12
	algorithm, sum, _ := strings.Cut(d, ":")
	if len(sum) <= hex {
		return d
	}
	return algorithm + ":" + sum[:hex]
}

// span is a duration as people read it.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
