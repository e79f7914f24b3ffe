package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// renewer answers a drone's renewals, each after its commit. Renewals have a
// way of their own, in the session and into the store: nothing queues before them.
type renewer struct {
	c    *Controller
	s    *droneSession
	wake chan struct{} // capacity 1

	mu     sync.Mutex // guards the fields below
	latest *wire.Renew
}

func newRenewer(c *Controller, s *droneSession) *renewer {
	return &renewer{c: c, s: s, wake: make(chan struct{}, 1)}
}

// ask notes an attempt. A later one stands for earlier ones that wait: it moves
// the lease further.
func (r *renewer) ask(m wire.Renew) {
	r.mu.Lock()
	if r.latest == nil || m.Number > r.latest.Number {
		r.latest = &m
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *renewer) take() *wire.Renew {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.latest
	r.latest = nil
	return m
}

func (r *renewer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		for m := r.take(); m != nil; m = r.take() {
			// No answer is an answer of its own: the drone asks again.
			if err := r.renew(ctx, *m); err != nil && ctx.Err() == nil {
				r.c.log.Warn("renewal failed", "drone", r.s.name, "error", err)
			}
		}
	}
}

// renewal is what the transaction of one decided.
type renewal struct {
	outcome wire.Outcome // "" = the number isn't new: no answer, it moved nothing
	epochs  plane.Epochs
	store   plane.StoreEpoch
	raised  bool
	lapsed  []plane.Policy // ended by it
	stale   bool           // the drone must give its inventory first
}

func (r *renewer) renew(ctx context.Context, m wire.Renew) error {
	var out renewal
	err := r.c.store.Urgent(ctx, func(tx store.Tx) (err error) {
		out, err = r.c.renewTx(tx, r.s, m)
		return err
	})
	r.c.cfg.Metrics.renewed(out, err)
	if err != nil {
		return err
	}
	switch {
	case out.stale:
		return errors.Join(r.s.conn.Send(wire.Goodbye{Reason: "the store has a new epoch; connect again and give your inventory"}))
	case out.outcome == "":
		return nil
	}
	if out.raised {
		r.c.drones.markReap(r.s.name)
	}
	if out.outcome == wire.RenewalOK {
		first := r.s.renewed.Swap(max(1, int64(time.Since(r.s.since)))) == 0
		if first {
			defer r.s.courier.poke()
			defer r.c.hub.notify(topicDrones)
		}
	}
	return r.s.conn.Send(wire.Renewed{Number: m.Number, Outcome: out.outcome, Epochs: out.epochs, Store: out.store})
}

// renewTx renews, if epochs, agent and number are right. A class that is found
// lapsed is ended instead, so that both sides know.
func (c *Controller) renewTx(tx store.Tx, s *droneSession, m wire.Renew) (renewal, error) {
	out := renewal{}
	var err error
	if out.store, err = tx.StoreEpoch(); err != nil {
		return out, err
	}
	d, err := tx.Drone(s.name)
	if errors.Is(err, store.ErrNotFound) {
		return renewal{outcome: wire.RenewalSuperseded, store: out.store}, nil // it was removed
	}
	if err != nil {
		return out, err
	}
	out.epochs = d.Epochs
	switch {
	case d.Agent != s.agent:
		out.outcome = wire.RenewalSuperseded
		return out, nil
	case m.Store != out.store || d.Store != out.store:
		out.stale = true
		return out, nil
	}
	for i, p := range plane.Policies {
		if d.RenewedAt.IsZero() || !c.clock.lapsed(p, d.RenewedAt, tx.Now()) {
			continue
		}
		raised, err := tx.RaiseEpoch(s.name, p, d.Epochs[i], p.Terms().Store)
		if err != nil {
			return out, err
		}
		if raised {
			out.raised, out.lapsed = true, append(out.lapsed, p)
			out.epochs[i]++
		}
	}
	epochs := m.Epochs
	if out.raised {
		// The lease begins anew at once. Else the next renewal would find it as
		// old as before, and end the new epochs too, and so for ever.
		epochs = out.epochs
	}
	ok, err := tx.Renew(s.name, s.agent, m.Number, epochs)
	if err != nil {
		return out, err
	}
	switch {
	case out.epochs != m.Epochs:
		out.outcome = wire.RenewalRefused
	case ok:
		out.outcome = wire.RenewalOK
	}
	return out, nil
}
