package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// Drain sets or clears a drone's draining flag and reports whether it changed.
// A draining drone gets no new backends; what it runs goes on.
func (c *Controller) Drain(ctx context.Context, a Actor, cluster plane.ClusterName, drone plane.NodeName, on bool) (bool, error) {
	if err := a.May(VerbDrain, Everywhere); err != nil {
		return false, err
	}
	changed := false
	err := c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		d, err := tx.Drone(drone)
		if err != nil {
			return err
		}
		if d.Cluster != cluster {
			return store.ErrNotFound
		}
		if changed, err = tx.SetDraining(drone, on); err != nil || !changed {
			return err
		}
		text := map[bool]string{true: "Draining: it gets no new backends.", false: "No longer draining."}[on]
		return tx.InsertEvent(store.Event{Kind: "drain", Actor: a.String(), Node: drone, RequestID: a.RequestID, Text: text})
	})
	if errors.Is(err, store.ErrNotFound) {
		return false, plane.NewError(plane.NotFound, "Drone does not exist")
	}
	if err != nil {
		return false, fmt.Errorf("drain %s: %w", drone, err)
	}
	if s := c.drones.session(drone); s != nil {
		s.draining.Store(on)
		_ = s.conn.Send(wire.Drain{On: on}) // whoever is cut off hears it after the next welcome
	}
	c.hub.notify(topicEvents)
	return changed, nil
}

// Removal says how a node is removed.
type Removal struct {
	Force       bool // also with backends whose lease runs: second copies may then run; it is written to the log
	Compromised bool // a proxy: tokens are sealed with a new key and all older ones refused
}

// RemoveNode forgets a drone or proxy that is gone for good.
func (c *Controller) RemoveNode(ctx context.Context, a Actor, cluster plane.ClusterName, node plane.NodeName, r Removal) error {
	if err := a.May(VerbNode, Everywhere); err != nil {
		return err
	}
	if strings.HasPrefix(string(node), string(plane.PrefixProxy)) {
		return c.removeProxy(ctx, a, cluster, node, r)
	}
	return c.removeDrone(ctx, a, cluster, node, r)
}

func (c *Controller) removeDrone(ctx context.Context, a Actor, cluster plane.ClusterName, name plane.NodeName, r Removal) error {
	var live []store.Backend
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		live, err = tx.LiveOn(name)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	ids := make([]plane.BackendID, len(live))
	for i, b := range live {
		ids[i] = b.ID
	}
	err = c.change(ctx, ids, func(tx store.Tx) error {
		d, err := tx.Drone(name)
		if err == nil && d.Cluster != cluster {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		if d.Controller != "" && !r.Force {
			return conflict(fmt.Sprintf("Drone %s is connected; drain it and stop it first.", name))
		}
		if live, err = tx.LiveOn(name); err != nil {
			return err
		}
		for _, b := range live {
			held := b.Epoch == d.Epochs.Of(b.Policy) && !c.clock.lapsed(b.Policy, d.RenewedAt, tx.Now())
			if held && !r.Force {
				return conflict(fmt.Sprintf("Drone %s may still run %s, whose lease runs; wait for it, or use --force.", name, b.ID))
			}
			if err := endLost(tx, b, "its drone was removed"); err != nil {
				return err
			}
		}
		if err := forgetActions(tx, name); err != nil {
			return err
		}
		if err := tx.DeleteDrone(name); err != nil {
			return err
		}
		text := "Removed."
		if r.Force {
			text = fmt.Sprintf("Removed by force, with %d backends that may still run.", len(live))
		}
		return tx.InsertEvent(store.Event{Kind: "node-removed", Actor: a.String(), Node: name, RequestID: a.RequestID, Text: text})
	})
	if errors.Is(err, store.ErrNotFound) {
		return plane.NewError(plane.NotFound, "Drone does not exist")
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	for _, b := range live {
		c.gone(b)
	}
	if s := c.drones.session(name); s != nil {
		_ = s.conn.Send(wire.Goodbye{Reason: "this drone was removed"})
	}
	c.hub.notify(topicEvents)
	return nil
}

// forgetActions deletes what a drone that is gone for good was still to be told.
func forgetActions(tx store.Tx, drone plane.NodeName) error {
	for {
		actions, _, err := tx.Actions(drone, 0, courierBatch)
		if err != nil || len(actions) == 0 {
			return err
		}
		for _, a := range actions {
			if _, err := tx.DeleteAction(a.ID); err != nil {
				return err
			}
		}
	}
}

func (c *Controller) removeProxy(ctx context.Context, a Actor, cluster plane.ClusterName, name plane.NodeName, r Removal) error {
	if c.proxies.connected(name) && !r.Compromised {
		return conflict(fmt.Sprintf("Proxy %s is connected; stop it first.", name))
	}
	found := false
	err := c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		found = false
		all, err := tx.Proxies(cluster)
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.Name != name {
				continue
			}
			found = true
			// Long unseen, it counts for nothing and clean-up deletes the row.
			p.Controller, p.SeenAt = "", tx.Now().Add(-24*time.Hour)
			p.Connection++
			if err := tx.PutProxy(p); err != nil {
				return err
			}
		}
		if !found {
			return store.ErrNotFound
		}
		text := "Removed."
		if r.Compromised {
			text = "Removed as compromised: tokens are sealed with a new key, all older ones are refused."
		}
		return tx.InsertEvent(store.Event{Kind: "node-removed", Actor: a.String(), Node: name, RequestID: a.RequestID, Text: text})
	})
	if errors.Is(err, store.ErrNotFound) {
		return plane.NewError(plane.NotFound, "Proxy does not exist")
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	if r.Compromised {
		for _, s := range c.proxies.of(cluster) {
			if s.name == name {
				s.conn.Close("this proxy was removed")
			}
		}
		if err := c.startOver(ctx, cluster); err != nil {
			return err
		}
	}
	c.proxies.forget(name)
	c.hub.notify(topicEvents)
	return nil
}

func conflict(message string) *plane.Error {
	return &plane.Error{Kind: plane.Unavailable, Message: message, Status: 409}
}
