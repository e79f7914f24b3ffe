package controller

import (
	"context"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

const (
	explainHistory = 20 // generations
	explainEvents  = 50
)

// Explain tells why a key's backend runs, or doesn't. A key that nothing is
// known of has an empty explanation.
func (c *Controller) Explain(ctx context.Context, a Actor, namespace, name string) (Explanation, error) {
	if err := a.May(VerbRead, namespace); err != nil {
		return Explanation{}, err
	}
	out := Explanation{Key: plane.Key{Namespace: namespace, Name: name}}
	var (
		past   []store.Backend
		events []store.Event
		crash  store.Crash
		now    time.Time
	)
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		now = tx.Now()
		if past, err = tx.KeyBackends(namespace, name, explainHistory); err != nil {
			return err
		}
		if events, err = tx.KeyEvents(namespace, name, explainEvents); err != nil {
			return err
		}
		crash, err = tx.Crash(namespace, name)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("explain key: %w", err)
	}
	out.History = make([]PastView, 0, len(past))
	for i, b := range past {
		if i == 0 {
			out.Key.Tag, out.Decision = b.Key.Tag, b.Decision
			if b.State.Status != plane.Terminated {
				v := c.nowView(b, now)
				out.Now = &v
			}
		}
		out.History = append(out.History, pastView(b))
	}
	out.Events = make([]EventView, 0, len(events))
	for _, e := range events {
		out.Events = append(out.Events, eventView(e))
	}
	if crash.Count > 0 {
		out.Crash = &CrashView{Count: crash.Count, Output: crash.Output}
		if left := crash.Last.Add(crashPause(crash.Count)).Sub(now); left > 0 {
			out.Crash.RetryIn = ceilSeconds(left)
		}
	}
	return out, nil
}

func pastView(b store.Backend) PastView {
	v := PastView{
		Backend: b.ID, Generation: b.Generation, Drone: b.Drone, Status: b.State.Status, CreatedAt: b.CreatedAt.UnixMilli(),
		Reason: b.State.Reason, Actor: b.Actor, Exit: exitView(b.State), Story: pastSentence(b),
	}
	if b.State.Status == plane.Terminated {
		at := b.StateAt.UnixMilli()
		v.EndedAt = &at
	}
	return v
}

func (c *Controller) nowView(b store.Backend, dbNow time.Time) NowView {
	v := NowView{Backend: c.viewOf(b)}
	uses := c.proxies.uses(b.Cluster, b.ID)
	v.Plain, v.Upgraded, v.Holds = uses.Plain, uses.Upgraded, v.Backend.Holds
	if n := b.Spec.LifetimeLimit; n != nil {
		left := wholeSeconds(b.CreatedAt.Add(time.Duration(*n) * time.Second).Sub(dbNow))
		v.EndsIn = &left
	}
	if n := b.Spec.MaxIdle; n != nil {
		limit := int64(*n)
		v.IdleAfter = &limit
	}
	idle := c.use.view(b.ID)
	inUse := plane.UseRequests.Counts(b.Spec.Idle) && uses.Open() > 0 || plane.UseHolds.Counts(b.Spec.Idle) && len(v.Holds) > 0
	if idle.known && idle.limit >= 0 && !inUse {
		left := max(0, ceilSeconds(time.Until(idle.due)))
		v.IdleIn = &left
	}
	v.Awake = awakeSentence(b, v, idle)
	return v
}

// awakeSentence tells why a backend runs, and what would end it.
func awakeSentence(b store.Backend, v NowView, idle idleView) string {
	switch status := b.State.Status; {
	case status.Ending():
		return fmt.Sprintf("It is ending: %s.", reasonPhrase(b.State.Reason))
	case status != plane.Ready:
		text := fmt.Sprintf("It is starting: %s for %s.", status, span(time.Since(b.StateAt)))
		if status == plane.Waiting {
			text += " Until it answers on 127.0.0.1:$PORT it isn't ready."
		}
		return text
	case v.Upgraded > 0 && v.Plain > 0:
		return fmt.Sprintf("%s and %s keep it awake.", count(v.Upgraded, "open WebSocket"), count(v.Plain, "open request"))
	case v.Upgraded > 0:
		return fmt.Sprintf("%s: it is awake.", count(v.Upgraded, "open WebSocket"))
	case v.Plain > 0:
		return fmt.Sprintf("%s: it is awake.", count(v.Plain, "open request"))
	case len(v.Holds) > 0:
		h := v.Holds[0]
		text := fmt.Sprintf("Its program holds it awake (%q) for at most another %d s", h.Name, h.SecondsTo)
		if h.Reason != "" {
			text += ": " + h.Reason
		}
		return text + "."
	case v.IdleIn == nil:
		return "Nobody uses it; it has no idle limit and runs on."
	case *v.IdleIn == 0 && idle.why != "":
		return "Nobody seems to use it, but it can't be stopped yet. " + idle.why
	}
	return fmt.Sprintf("Nobody uses it; it is stopped in %d s unless someone comes.", *v.IdleIn)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
