package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

const (
	lapseEvery = 2 * time.Second
	lapseBatch = 500 // backends in one transaction
)

// endLost records that nothing of b can run any more and frees its key.
func endLost(tx store.Tx, b store.Backend, why string) error {
	at, err := lostAt(tx, b)
	if err != nil {
		return err
	}
	recorded, err := tx.RecordState(b.ID, lostState(b.State, why), at)
	if err != nil || !recorded {
		return err
	}
	if err := release(tx, b); err != nil {
		return err
	}
	return tx.InsertEvent(store.Event{
		Kind: "ended", Actor: "system", Key: b.Key, Backend: b.ID, Generation: b.Generation, Node: b.Drone,
		Text: fmt.Sprintf("Lost: %s.", why),
	})
}

// lostAt is when b can't have run any more: at the end of the last lease that
// its drone had, if that is past, however much later it is noticed.
func lostAt(tx store.Tx, b store.Backend) (time.Time, error) {
	now, term := tx.Now(), b.Policy.Terms().Store
	d, err := tx.Drone(b.Drone)
	switch {
	case isNotFound(err):
		return now, nil
	case err != nil || term == 0 || d.RenewedAt.IsZero():
		return now, err
	}
	at := d.RenewedAt.Add(term)
	switch {
	case at.After(now):
		return now, nil
	case at.Before(b.StateAt):
		return b.StateAt, nil
	}
	return at, nil
}

func lostState(was plane.State, why string) plane.State {
	s := plane.State{Status: plane.Terminated, Digest: was.Digest, LastStatus: was.Status, Reason: plane.Lost, Exit: &plane.Exit{Message: why}}
	if was.Status.Ending() {
		s.LastStatus, s.Termination = was.LastStatus, was.Termination
	}
	return s
}

// release frees the key of a backend that has ended, and forgets what its
// drone was still to be told.
func release(tx store.Tx, b store.Backend) error {
	if _, err := tx.DeleteKey(b.Key.Namespace, b.Key.Name, b.ID); err != nil {
		return err
	}
	pending, err := tx.Pending(b.ID)
	if err != nil {
		return err
	}
	for _, a := range pending {
		if _, err := tx.DeleteAction(a.ID); err != nil {
			return err
		}
	}
	return nil
}

func lapseEvent(drone plane.NodeName, p plane.Policy) store.Event {
	return store.Event{
		Kind: "lapse", Actor: "system", Node: drone,
		Text: fmt.Sprintf("The %s lease of %s ran out %s after its last renewal.", p, drone, p.Terms().Store),
	}
}

// sweepLapsed tidies: it records lapses that no connect has come upon, and ends
// the rows of ended epochs, so that routes are withdrawn and nothing is shown
// as running. No safety rests on it.
func (c *Controller) sweepLapsed(ctx context.Context) error {
	var drones []store.Drone
	var now time.Time
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		now = tx.Now()
		drones, err = tx.Drones("")
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range drones {
		errs = append(errs, c.sweepDrone(ctx, d, now))
	}
	for _, name := range c.drones.takeReaps() {
		if err := c.reap(ctx, name, "its drone's lease lapsed"); err != nil {
			c.drones.markReap(name)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) sweepDrone(ctx context.Context, d store.Drone, now time.Time) error {
	for _, p := range plane.Policies {
		if d.RenewedAt.IsZero() || !c.clock.lapsed(p, d.RenewedAt, now) {
			continue
		}
		count := 0
		err := c.store.View(ctx, func(tx store.Tx) error {
			live, err := tx.LiveOn(d.Name)
			for _, b := range live {
				if b.Policy == p && b.Epoch == d.Epochs.Of(p) {
					count++
				}
			}
			return err
		})
		if err != nil || count == 0 {
			if err != nil {
				return err
			}
			continue // an epoch that nothing stands on needs no end
		}
		raised := false
		err = c.store.Update(ctx, func(tx store.Tx) (err error) {
			raised = false
			if !c.clock.lapsed(p, d.RenewedAt, tx.Now()) {
				return nil
			}
			raised, err = tx.RaiseEpoch(d.Name, p, d.Epochs.Of(p), p.Terms().Store)
			if err != nil || !raised {
				return err
			}
			return tx.InsertEvent(lapseEvent(d.Name, p))
		})
		if err != nil {
			return err
		}
		if raised {
			c.cfg.Metrics.lapsed(p)
		}
		c.drones.markReap(d.Name)
	}
	return nil
}

// reap ends the rows of a drone's ended epochs.
func (c *Controller) reap(ctx context.Context, drone plane.NodeName, why string) error {
	for {
		dead, err := c.deadOn(ctx, drone)
		if err != nil || len(dead) == 0 {
			return err
		}
		more := len(dead) > lapseBatch
		dead = dead[:min(len(dead), lapseBatch)]
		ids := make([]plane.BackendID, len(dead))
		for i, b := range dead {
			ids[i] = b.ID
		}
		err = c.change(ctx, ids, func(tx store.Tx) error {
			for _, b := range dead {
				// Epochs never go back: what was dead when it was read still is.
				if err := endLost(tx, b, why); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, b := range dead {
			c.gone(b)
		}
		c.hub.notify(topicEvents)
		if !more {
			return nil
		}
	}
}

func (c *Controller) deadOn(ctx context.Context, drone plane.NodeName) ([]store.Backend, error) {
	var dead []store.Backend
	err := c.store.View(ctx, func(tx store.Tx) error {
		dead = nil
		d, err := tx.Drone(drone)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		live, err := tx.LiveOn(drone)
		for _, b := range live {
			if b.Epoch < d.Epochs.Of(b.Policy) {
				dead = append(dead, b)
			}
		}
		return err
	})
	return dead, err
}

// gone tells everybody that b has ended, after the commit: routes are
// withdrawn, and whoever waits for its end looks again.
func (c *Controller) gone(b store.Backend) {
	c.cfg.Metrics.ended(b)
	c.live.ended(b.ID)
	c.use.forget(b.ID)
	c.starting.take(b.ID)
	for _, s := range c.proxies.of(b.Cluster) {
		s.drop(b.ID)
	}
	if s := c.drones.session(b.Drone); s != nil {
		s.usage.drop(b.ID)
	}
	if b.Static {
		c.statics.remove(c.rings.of(b.Cluster).Static(b.ID))
	}
	if b.State.Status != plane.Terminated { // b was read before its end
		b.State = lostState(b.State, "")
		b.Revision++
	}
	c.push(c.routeOf(b, nil))
	c.replaced.forget(b.ID)
	c.hub.notify(topic(b.ID))
}
