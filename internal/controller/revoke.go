package controller

import (
	"context"
	"errors"
	"fmt"

	"plane"
	"plane/internal/store"
)

// Revoke makes the tokens that one user has of a backend worthless, and cuts
// what is open with them. Static tokens are of no user. That there is nothing
// to revoke is no error.
func (c *Controller) Revoke(ctx context.Context, a Actor, id plane.BackendID, user string) error {
	b, err := c.backend(ctx, id)
	if plane.IsKind(err, plane.NotFound) {
		return a.May(VerbRevoke, Everywhere) // whether it ever was isn't everybody's to know
	}
	if err != nil {
		return err
	}
	if err := a.May(VerbRevoke, b.Key.Namespace); err != nil {
		return err
	}
	var r plane.Route
	done := false
	err = c.change(ctx, []plane.BackendID{id}, func(tx store.Tx) error {
		done = false
		now, err := tx.Backend(id)
		// Of an app's, cookies that its tokens were exchanged for outlive it.
		if err != nil || now.State.Status == plane.Terminated && now.Release == 0 {
			return err
		}
		if _, err := tx.Revoke(id, user); err != nil {
			return err
		}
		if _, r, err = c.readRoute(tx, id); err != nil {
			return err
		}
		done = true
		return tx.InsertEvent(store.Event{
			Kind: "revoke", Actor: a.String(), Key: now.Key, Backend: id, Generation: now.Generation, Node: now.Drone,
			RequestID: a.RequestID, Text: fmt.Sprintf("The tokens of user %q were revoked.", user),
		})
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && !done {
		return nil
	}
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	if r.Status != plane.Terminated {
		c.push(r)
	}
	c.hub.notify(topicEvents)
	return nil
}
