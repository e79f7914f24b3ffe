package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// Terminate asks for a backend's end and doesn't wait for it. A backend that
// has ended, or was asked the same before, is no error.
func (c *Controller) Terminate(ctx context.Context, a Actor, id plane.BackendID, kind plane.StopKind) error {
	b, err := c.backend(ctx, id)
	if err != nil {
		return err
	}
	if err := a.May(VerbTerminate, b.Key.Namespace); err != nil {
		return err
	}
	return c.askEnd(ctx, a, b, kind, endAsk{kind: eventTerminate, text: fmt.Sprintf("A %s end was asked for.", kind)})
}

// endAsk is how the log tells that an end was asked for.
type endAsk struct{ kind, text string }

const eventTerminate = "terminate"

// askEnd queues a backend's end, unless it was asked for before.
func (c *Controller) askEnd(ctx context.Context, a Actor, b store.Backend, kind plane.StopKind, why endAsk) error {
	id := b.ID
	m := wire.Terminate{
		Action: newName(plane.PrefixAction), Backend: id, Policy: b.Policy, Kind: kind, Reason: plane.External,
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode terminate: %w", err)
	}
	queued := false
	err = c.change(ctx, []plane.BackendID{id}, func(tx store.Tx) error {
		queued = false
		now, err := tx.Backend(id)
		if err != nil {
			return err
		}
		needed, err := stillNeeded(tx, now, kind)
		if err != nil || !needed {
			return err
		}
		err = tx.InsertAction(store.Action{ID: m.Action, Drone: now.Drone, Backend: id, Kind: actionTerminate, Body: body})
		if err != nil {
			return err
		}
		queued = true
		return tx.InsertEvent(store.Event{
			Kind: why.kind, Actor: a.String(), Key: now.Key, Backend: id, Generation: now.Generation, Node: now.Drone,
			RequestID: a.RequestID, Text: why.text,
		})
	})
	if errors.Is(err, store.ErrNotFound) {
		return errNoBackend()
	}
	if err != nil {
		return fmt.Errorf("terminate %s: %w", id, err)
	}
	if !queued {
		return nil
	}
	c.live.doom(id)
	if s := c.drones.session(b.Drone); s != nil {
		s.courier.send(m.Action, m)
	}
	c.hub.notify(topicEvents)
	return nil
}

// stillNeeded reports whether that kind of end says anything new: a row for
// every call would pile up while a backend is ending.
func stillNeeded(tx store.Tx, b store.Backend, kind plane.StopKind) (bool, error) {
	if _, changes := b.State.Next(plane.Event{Kind: plane.EventStop, Stop: kind}); !changes {
		return false, nil
	}
	pending, err := tx.Pending(b.ID)
	if err != nil {
		return false, err
	}
	for _, p := range pending {
		if p.Kind != actionTerminate {
			continue
		}
		var m wire.Terminate
		if err := json.Unmarshal(p.Body, &m); err != nil {
			return false, fmt.Errorf("read action %s: %w", p.ID, err)
		}
		if m.Kind == kind || m.Kind == plane.Hard {
			return false, nil
		}
	}
	return true, nil
}

// backend reads one, outside of a transaction; NotFound as callers see it.
func (c *Controller) backend(ctx context.Context, id plane.BackendID) (store.Backend, error) {
	var b store.Backend
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		b, err = tx.Backend(id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return b, errNoBackend()
	}
	if err != nil {
		return b, fmt.Errorf("read backend: %w", err)
	}
	return b, nil
}

func errNoBackend() *plane.Error { return plane.NewError(plane.NotFound, "Backend does not exist") }
