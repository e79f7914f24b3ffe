package controller

import (
	"context"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

const eventBatch = 500

// Kinds of event that concern an app or its data, and no backend.
const (
	eventApply    = "apply"
	eventRollback = "rollback"
	eventReplace  = "replace"
	eventAbandon  = "abandon"
)

// Kinds of event of a command that was run in a backend.
const (
	eventExec      = "exec"
	eventExecEnded = "exec-ended"
)

// appEvent is one about an app: its key has the app's namespace and no name.
func appEvent(kind string, a Actor, app, text string) store.Event {
	return store.Event{Kind: kind, Actor: a.String(), Key: plane.Key{Namespace: app}, RequestID: a.RequestID, Text: text}
}

func eventView(e store.Event) EventView {
	v := EventView{
		Seq: e.Seq, Time: e.At.UnixMilli(), Kind: e.Kind, Actor: e.Actor, BackendID: e.Backend,
		Generation: e.Generation, Node: e.Node, RequestID: e.RequestID, Text: e.Text,
	}
	if e.Backend != "" || e.Kind == eventAbandon {
		k := e.Key
		v.Key = &k
	}
	return v
}

// Events gives the log after since to each, in order; with follow it goes on
// until ctx is done. A caller whose grants name namespaces sees those alone.
func (c *Controller) Events(ctx context.Context, a Actor, since int64, follow bool, each func(EventView) error) error {
	if !a.readsSomething() {
		return a.May(VerbRead, Everywhere)
	}
	hint, stop := c.hub.subscribe(topicEvents)
	defer stop()
	for {
		var batch []store.Event
		err := c.store.View(ctx, func(tx store.Tx) (err error) {
			batch, err = tx.Events(since, eventBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		for _, e := range batch {
			since = e.Seq
			if !a.sees(e) {
				continue
			}
			if err := each(eventView(e)); err != nil {
				return err
			}
		}
		if len(batch) == eventBatch {
			continue
		}
		if !follow {
			return nil
		}
		select {
		case <-hint:
		case <-time.After(pollWait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a Actor) sees(e store.Event) bool {
	if e.Backend == "" && e.Key == (plane.Key{}) {
		return a.allows(VerbRead, Everywhere)
	}
	return a.allows(VerbRead, e.Key.Namespace)
}

// readsSomething reports whether there is any namespace that a may read.
func (a Actor) readsSomething() bool {
	if a.Grants == nil {
		return true
	}
	for _, g := range a.Grants {
		if v := verbOf(g); v == VerbRead || v == VerbAll {
			return true
		}
	}
	return false
}
