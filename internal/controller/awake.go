package controller

import (
	"fmt"
	"strings"
	"time"

	"plane"
	"plane/internal/store"
)

// awakeSentence tells why a backend runs, and what would end it.
func awakeSentence(b store.Backend, v NowView, idle idleView, events []store.Event) string {
	switch status := b.State.Status; {
	case status.Ending():
		return fmt.Sprintf("It is ending, because %s.", because(b, b.State, b.StateAt, events))
	case status != plane.Ready:
		text := fmt.Sprintf("It is starting: %s for %s.", status, span(time.Since(b.StateAt)))
		if v.Progress != nil {
			text += " " + sentenceCase(progressPhrase(*v.Progress)) + "."
		}
		if status == plane.Waiting {
			text += " It isn't ready before it answers there. " + mustListen(b.Spec)
		}
		return text
	}
	text := usedSentence(b, v, idle)
	if v.EndsIn != nil && (v.IdleIn == nil || *v.EndsIn < *v.IdleIn) {
		text += fmt.Sprintf(" Its lifetime limit ends it in %d s.", *v.EndsIn)
	}
	return text
}

// progressPhrase tells how far a preparation has come.
func progressPhrase(p plane.Pull) string {
	text := p.Text
	if text == "" {
		text = "preparing"
	}
	const mb = 1e6
	switch {
	case p.Total > 0:
		return fmt.Sprintf("%s: %d %% of %.1f MB", text, 100*min(p.Done, p.Total)/p.Total, float64(p.Total)/mb)
	case p.Done > 0:
		return fmt.Sprintf("%s: %.1f MB so far", text, float64(p.Done)/mb)
	}
	return text
}

// usedSentence names everything that holds a ready backend awake, and what is
// open without counting.
func usedSentence(b store.Backend, v NowView, idle idleView) string {
	counted, uncounted := uses(b, v)
	aside := ""
	if len(uncounted) > 0 {
		aside = fmt.Sprintf(" (%s: its app doesn't count that as use.)", list(uncounted))
	}
	switch {
	case len(counted) > 0 && v.IdleAfter == nil:
		return fmt.Sprintf("It is used by %s; it has no idle limit and would run on without.", list(counted)) + aside
	case len(counted) > 0:
		return fmt.Sprintf("It is held awake by %s.", list(counted)) + aside
	case v.IdleIn == nil:
		return "Nobody uses it; it has no idle limit and runs on." + aside
	case *v.IdleIn == 0 && idle.why != "":
		return "Nobody seems to use it, but it can't be stopped yet. " + idle.why + aside
	}
	return fmt.Sprintf("Nobody uses it; it is stopped in %d s unless someone comes.", *v.IdleIn) + aside
}

// uses are the things that are open, by whether they count.
func uses(b store.Backend, v NowView) (counted, uncounted []string) {
	var requests, holds []string
	if v.Upgraded > 0 {
		requests = append(requests, count(v.Upgraded, "open WebSocket"))
	}
	if v.Plain > 0 {
		requests = append(requests, count(v.Plain, "open request"))
	}
	for _, h := range v.Holds {
		text := fmt.Sprintf("its program's hold %q for at most %d s", h.Name, h.SecondsTo)
		if h.Reason != "" {
			text += fmt.Sprintf(" (%s)", h.Reason)
		}
		holds = append(holds, text)
	}
	sort := func(use plane.Use, texts []string) {
		if use.Counts(b.Spec.Idle) {
			counted = append(counted, texts...)
			return
		}
		uncounted = append(uncounted, texts...)
	}
	sort(plane.UseRequests, requests)
	sort(plane.UseHolds, holds)
	if n := v.Backend.Commands; n > 0 {
		counted = append(counted, count(n, "command")+" of `plane exec`")
	}
	return counted, uncounted
}

// list joins texts as people do.
func list(texts []string) string {
	last := len(texts) - 1
	if last < 1 {
		return strings.Join(texts, "")
	}
	return strings.Join(texts[:last], ", ") + " and " + texts[last]
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
