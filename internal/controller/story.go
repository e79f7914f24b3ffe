package controller

import (
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

// reasonPhrase tells why a backend was asked to end, after a colon.
func reasonPhrase(r plane.Reason) string {
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

// endSentence tells how a backend ended.
func endSentence(s plane.State) string {
	var x plane.Exit
	if s.Exit != nil {
		x = *s.Exit
	}
	switch {
	case s.Reason == plane.Lost:
		return "Lost: nothing of it was found, or its drone's lease lapsed."
	case refused(s):
		return x.Message
	case s.Reason == "":
		return "Ended by itself " + exitSentence(x) + "."
	}
	return fmt.Sprintf("Ended %s, because %s.", exitSentence(x), reasonPhrase(s.Reason))
}

// pastSentence tells the life of one generation.
func pastSentence(b store.Backend) string {
	text := fmt.Sprintf("Started on %s by %s", b.Drone, orSomeone(b.Actor))
	if b.ReadyAt.IsZero() {
		if b.State.Status != plane.Terminated {
			return text + fmt.Sprintf("; %s for %s.", b.State.Status, "now")
		}
		return text + fmt.Sprintf("; never ready. %s", endSentence(b.State))
	}
	text += fmt.Sprintf("; ready after %s", span(b.ReadyAt.Sub(b.CreatedAt)))
	if b.State.Status == plane.Terminated {
		return text + fmt.Sprintf("; lived %s. %s", span(b.StateAt.Sub(b.CreatedAt)), endSentence(b.State))
	}
	if b.State.Status.Ending() {
		return text + fmt.Sprintf("; asked to end: %s.", reasonPhrase(b.State.Reason))
	}
	return text + "; running."
}

func orSomeone(actor string) string {
	if actor == "" {
		return "someone"
	}
	return actor
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
