package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

const (
	courierPoll   = time.Second      // looks for actions whose hint was missed
	courierResend = 10 * time.Second // of what isn't acknowledged
	courierBatch  = 256              // actions read at once
)

// courier brings a drone its actions, until it acknowledges them. Those of a
// verb on this controller are sent at once; the store is read for all others.
type courier struct {
	c    *Controller
	s    *droneSession
	wake chan struct{} // capacity 1

	mu   sync.Mutex // guards the fields below
	sent map[string]time.Time
}

func newCourier(c *Controller, s *droneSession) *courier {
	return &courier{c: c, s: s, wake: make(chan struct{}, 1), sent: map[string]time.Time{}}
}

// send sends an action that was just committed. Spawns wait for the first
// renewal of the connection: without it the drone would refuse them.
func (q *courier) send(action string, m wire.Message) {
	if _, spawn := m.(wire.Spawn); spawn && q.s.renewed.Load() == 0 {
		q.poke()
		return
	}
	if q.claim(action) {
		_ = q.s.conn.Send(m) // what a broken connection loses is sent again by the next
	}
}

func (q *courier) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *courier) claim(action string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.sent[action]; ok {
		return false
	}
	q.sent[action] = time.Now()
	return true
}

func (q *courier) claimed(action string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.sent[action]
	return ok
}

func (q *courier) done(action string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.sent, action)
}

// expire lets actions be sent again that weren't acknowledged in time.
func (q *courier) expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, at := range q.sent {
		if time.Since(at) >= courierResend {
			delete(q.sent, id)
		}
	}
}

func (q *courier) run(ctx context.Context) {
	pause, cursor, from := courierPoll, int64(0), time.Now()
	for {
		next, err := q.deliver(ctx, cursor)
		cursor = next
		switch {
		case err != nil && ctx.Err() == nil:
			q.c.log.Warn("could not read a drone's actions; it is tried again", "drone", q.s.name, "error", err)
			pause = min(2*pause, retryMost)
		default:
			pause = courierPoll
		}
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-time.After(pause):
		}
		if time.Since(from) >= courierResend {
			q.expire()
			cursor, from = 0, time.Now()
		}
	}
}

// deliver sends the actions after cursor, in bounded batches, and returns the
// new cursor. Before the first renewal it reads nothing.
func (q *courier) deliver(ctx context.Context, cursor int64) (int64, error) {
	if q.s.renewed.Load() == 0 {
		return cursor, nil
	}
	for {
		var actions []store.Action
		var messages []wire.Message
		next := cursor
		err := q.c.store.View(ctx, func(tx store.Tx) (err error) {
			messages = nil
			if actions, next, err = tx.Actions(q.s.name, cursor, courierBatch); err != nil {
				return err
			}
			for _, a := range actions {
				var m wire.Message
				if !q.claimed(a.ID) {
					if m, err = q.c.messageOf(tx, a); err != nil {
						return err
					}
				}
				messages = append(messages, m)
			}
			return nil
		})
		if err != nil {
			return cursor, fmt.Errorf("read actions: %w", err)
		}
		for i, m := range messages {
			if m != nil && q.claim(actions[i].ID) {
				if err := q.s.conn.Send(m); err != nil {
					return cursor, nil
				}
			}
		}
		cursor = next
		if len(actions) < courierBatch {
			return cursor, nil
		}
	}
}

// messageOf builds the message of an action as it is true now: a spawn's grant
// names the epoch that the key was granted in and the drone's last renewal. nil
// = not to be sent, now or ever.
func (c *Controller) messageOf(tx store.Tx, a store.Action) (wire.Message, error) {
	if a.Kind == actionTerminate {
		var m wire.Terminate
		if err := json.Unmarshal(a.Body, &m); err != nil {
			return nil, fmt.Errorf("read action %s: %w", a.ID, err)
		}
		m.Action = a.ID
		return m, nil
	}
	if a.Kind == actionDiscard {
		var m wire.Discard
		if err := json.Unmarshal(a.Body, &m); err != nil {
			return nil, fmt.Errorf("read action %s: %w", a.ID, err)
		}
		return m, nil
	}
	b, err := tx.Backend(a.Backend)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d, err := tx.Drone(b.Drone)
	if err != nil {
		return nil, err
	}
	epoch, err := tx.StoreEpoch()
	if err != nil {
		return nil, err
	}
	if b.State.Status != plane.Scheduled || b.Epoch != d.Epochs.Of(b.Policy) || d.Store != epoch {
		return nil, nil
	}
	data, err := dataOf(tx, b)
	if err != nil {
		return nil, err
	}
	return c.spawnOf(b, a.ID, plane.Grant{Policy: b.Policy, Epoch: b.Epoch, Renewal: d.Renewal, Store: epoch}, data), nil
}

// dataOf is the volume of a backend's spawn, or nil.
func dataOf(tx store.Tx, b store.Backend) (*wire.Volume, error) {
	if b.Volume == "" {
		return nil, nil
	}
	v, err := tx.Volume(b.Key.Namespace, b.Key.Name)
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	return &wire.Volume{ID: b.Volume, New: err == nil && v.ID == b.Volume && !v.Made}, nil
}
