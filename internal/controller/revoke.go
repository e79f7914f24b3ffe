package controller

import (
	"context"
	"fmt"

	"plane"
	"plane/internal/store"
)

// Revoke makes the tokens that one user has of a backend worthless, and cuts
// what is open with them. Static tokens are of no user. That there is nothing
// to revoke is no error. Of an app's backend that has ended, what the user has
// of the key's live one goes too.
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
	r, err := c.revoke(ctx, a, id, user)
	if err == nil && r != nil && r.Status == plane.Terminated {
		err = c.revokeOnHeir(ctx, a, b, user)
	}
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}

// revokeOnHeir revokes on the backend that has the key of one that ended. With
// cookies of that one its visitors may have been let in there already, which
// proxies remember; from now on no other backend lets them in.
func (c *Controller) revokeOnHeir(ctx context.Context, a Actor, ended store.Backend, user string) error {
	var heir store.Backend
	err := c.store.View(ctx, func(tx store.Tx) error {
		row, err := tx.Key(ended.Key.Namespace, ended.Key.Name)
		if err == nil {
			heir, err = tx.Backend(row.Backend)
		}
		return err
	})
	if isNotFound(err) || err == nil && (heir.Generation <= ended.Generation || c.accessOf(heir.Spec) != plane.AccessToken) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = c.revoke(ctx, a, heir.ID, user)
	return err
}

// revoke does it on one backend and gives its route, or nil if there is nothing
// to revoke.
func (c *Controller) revoke(ctx context.Context, a Actor, id plane.BackendID, user string) (*plane.Route, error) {
	var r plane.Route
	done := false
	err := c.change(ctx, []plane.BackendID{id}, func(tx store.Tx) error {
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
	if isNotFound(err) || err == nil && !done {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if r.Status != plane.Terminated {
		c.push(r)
	}
	c.hub.notify(topicEvents)
	return &r, nil
}
