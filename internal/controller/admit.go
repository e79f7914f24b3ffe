package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// refusal is why a node isn't let in, for its log.
type refusal string

func (r refusal) Error() string { return string(r) }

// admission is what the transaction of a drone's hello decided.
type admission struct {
	welcome    wire.DroneWelcome
	connection int64
	draining   bool
	raised     bool              // the store's epoch: everybody must give their inventory
	ended      []store.Backend   // rows of epochs that are over
	adopted    []store.Backend   // of lost commits
	missing    []plane.BackendID // rows that the drone should have and doesn't
}

// admit decides about a drone's hello in one transaction: its epochs, which of
// its backends are the store's, which rows have no backend.
func (c *Controller) admit(ctx context.Context, h wire.DroneHello) (admission, error) {
	var ids []plane.BackendID
	err := c.store.View(ctx, func(tx store.Tx) error {
		ids = nil
		live, err := tx.LiveOn(h.Name)
		for _, b := range live {
			ids = append(ids, b.ID)
		}
		return err
	})
	if err != nil {
		return admission{}, err
	}
	var out admission
	err = c.change(ctx, ids, func(tx store.Tx) (err error) {
		out, err = c.admitTx(tx, h)
		return err
	})
	return out, err
}

func (c *Controller) admitTx(tx store.Tx, h wire.DroneHello) (admission, error) {
	var out admission
	epoch, err := tx.StoreEpoch()
	if err != nil {
		return out, err
	}
	known := h.Store.StoreID == epoch.StoreID // the drone's memory is of this store
	if h.Store.Number > epoch.Number {
		if epoch, err = c.raiseStore(tx, h.Store.Number); err != nil {
			return out, err
		}
		out.raised = true
	}
	d, err := tx.Drone(h.Name)
	fresh := errors.Is(err, store.ErrNotFound)
	if err != nil && !fresh {
		return out, err
	}
	if !fresh && d.Cluster != h.Cluster {
		return out, refusal(fmt.Sprintf("drone %s belongs to cluster %s; remove it there first (plane node rm)", h.Name, d.Cluster))
	}
	live, err := tx.LiveOn(h.Name)
	if err != nil {
		return out, err
	}
	if fresh {
		d.Epochs = firstEpochs(h, known)
	} else if err := c.settleEpochs(tx, &d, h, known, live); err != nil {
		return out, err
	}
	// A new boot without a join is no proof of anything: a copy of the disk may
	// run elsewhere. What such a machine hasn't ends by its lease.
	proves := fresh || h.Joins || d.BootID == h.BootID
	d.Name, d.Cluster, d.Pool, d.Version, d.Hash = h.Name, h.Cluster, h.Pool, h.Version, h.Hash
	d.Address, d.Runtimes, d.Commands = h.Address, h.Runtimes, h.Commands
	d.BootID, d.Warden, d.Agent = h.BootID, h.Warden, h.Agent
	d.Controller, d.Connection = c.cfg.Name, d.Connection+1
	if fresh {
		d.FirstSeen = tx.Now()
	}
	if err := tx.PutDrone(d); err != nil {
		return out, err
	}
	if err := tx.ConfirmStore(h.Name, epoch); err != nil {
		return out, err
	}
	out.connection, out.draining = d.Connection, d.Draining
	out.welcome = wire.DroneWelcome{
		Controller: c.cfg.Name, Version: c.cfg.Version, Store: epoch, Epochs: d.Epochs,
		Attempt: d.Renewal, LeaseClock: !c.cfg.SingleHost,
	}
	if err := c.reconcile(tx, d, h, known, live, &out); err != nil {
		return out, err
	}
	if !proves {
		out.missing = nil
	}
	if fresh || !known && h.Store.StoreID != "" {
		text := fmt.Sprintf("%s joined.", h.Name)
		if !fresh || h.Store.StoreID != "" {
			text = fmt.Sprintf("%s joined with the memory of another store (%s): what it ran for that one is ended.", h.Name, h.Store.StoreID)
		}
		err = tx.InsertEvent(store.Event{Kind: "join", Actor: "node " + string(h.Name), Node: h.Name, Text: text})
	}
	return out, err
}

// firstEpochs are those of a drone that this store doesn't know. If the drone
// does know the store, it goes on where it was; of another store's epochs
// nothing may run on.
func firstEpochs(h wire.DroneHello, known bool) plane.Epochs {
	if h.Epochs == nil {
		return plane.Epochs{1, 1, 1}
	}
	e := *h.Epochs
	if !known || h.Joins {
		for i := range e {
			e[i]++
		}
	}
	return e
}

// settleEpochs brings the epochs of a known drone to what its hello proves. An
// epoch ends by the drone's word that nothing of it runs, or by its lapse,
// never because a machine of that name has come.
func (c *Controller) settleEpochs(tx store.Tx, d *store.Drone, h wire.DroneHello, known bool, live []store.Backend) error {
	raise := func(p plane.Policy, after time.Duration) error {
		ok, err := tx.RaiseEpoch(d.Name, p, d.Epochs.Of(p), after)
		if ok {
			d.Epochs[p.Index()]++
		}
		return err
	}
	if h.Epochs == nil || !known {
		// It doesn't know what it held here. Without rows there is nothing to know.
		for _, p := range plane.Policies {
			holds := slices.ContainsFunc(live, func(b store.Backend) bool { return b.Policy == p && b.Epoch == d.Epochs.Of(p) })
			if holds && !c.clock.lapsed(p, d.RenewedAt, tx.Now()) {
				wait := "an operator's plane node rm"
				if t := p.Terms().Store; t != 0 {
					wait = fmt.Sprintf("up to %s", t)
				}
				return refusal(fmt.Sprintf("%s has lost its memory of the backends it ran, and their lease still runs; wait for %s", d.Name, wait))
			}
			if err := raise(p, 0); err != nil {
				return err
			}
		}
	}
	if h.Epochs == nil {
		return nil
	}
	for i, p := range plane.Policies {
		// A store that lost commits follows the drone; one that the drone
		// knows nothing of goes beyond what it remembers.
		least := h.Epochs[i]
		if !known {
			least++
		}
		if least-d.Epochs[i] > 1<<16 {
			return refusal(fmt.Sprintf("epoch %d of %s is far above the store's %d", least, d.Name, d.Epochs[i]))
		}
		for d.Epochs[i] < least {
			if err := raise(p, 0); err != nil {
				return err
			}
		}
		if h.Joins && known && d.Epochs[i] == h.Epochs[i] {
			if err := raise(p, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// admitted tells everybody, after the commit.
func (c *Controller) admitted(in admission) {
	for _, b := range in.ended {
		c.gone(b)
	}
	for _, b := range in.adopted {
		_ = c.noteStatic(context.Background(), b)
		if b.State.Status == plane.Ready {
			c.use.ready(b, time.Now())
		}
		c.push(c.routeOf(b, nil))
		c.hub.notify(topic(b.ID))
	}
	if in.raised {
		for _, s := range c.drones.all() {
			_ = s.conn.Send(wire.Goodbye{Reason: "the store has a new epoch; connect again and give your inventory"})
		}
	}
	c.hub.notify(topicEvents)
}

const missingWait = 3 * time.Second

// endMissing records the end of rows that the drone has nothing of, after its
// unacknowledged reports had time to say how they ended.
func (c *Controller) endMissing(ctx context.Context, s *droneSession, ids []plane.BackendID) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(missingWait):
	}
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		var ended []store.Backend
		err := c.change(ctx, ids, func(tx store.Tx) error {
			ended = nil
			for _, id := range ids {
				b, err := tx.Backend(id)
				if errors.Is(err, store.ErrNotFound) || err == nil && b.State.Status == plane.Terminated {
					continue
				}
				if err != nil {
					return err
				}
				if err := endLost(tx, b, fmt.Sprintf("%s came back and has nothing of it", s.name)); err != nil {
					return err
				}
				ended = append(ended, b)
			}
			return nil
		})
		if err == nil {
			for _, b := range ended {
				c.gone(b)
			}
			c.hub.notify(topicEvents)
			return
		}
		c.log.Warn("could not record lost backends; it is tried again", "drone", s.name, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
