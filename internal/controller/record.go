package controller

import (
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// recorded is what a transaction made of a batch.
type recorded struct {
	routes map[plane.BackendID]plane.Route   // of changed backends, the last one
	now    map[plane.BackendID]store.Backend // changed backends
	passed []passage
}

// read gives a backend as it is now in the batch; ok is false for one that
// isn't this drone's.
func (out *recorded) read(tx store.Tx, s *droneSession, id plane.BackendID) (b store.Backend, ok bool, err error) {
	b, ok = out.now[id]
	if !ok {
		b, err = tx.Backend(id)
		if errors.Is(err, store.ErrNotFound) {
			return b, false, nil
		}
	}
	return b, err == nil && b.Drone == s.name, err
}

// recordStatus stores a report if it is a later status than the stored one.
// Duplicates, late ones and those of unknown backends are acknowledged and
// change nothing.
func (c *Controller) recordStatus(tx store.Tx, s *droneSession, m wire.Status, out *recorded) error {
	b, ok, err := out.read(tx, s, m.Backend)
	if err != nil || !ok || !concerns(m, b) || m.State.Status.Order() <= b.State.Status.Order() {
		return err
	}
	at := statusTime(m.AtMS, b.StateAt, tx.Now())
	return c.enter(tx, b, m.State, at, out)
}

// concerns reports whether a report is about that row. A drone that says that
// it has nothing of a backend may not know its generation.
func concerns(m wire.Status, b store.Backend) bool {
	return m.Generation == b.Generation || m.Generation == 0 && m.State.Status == plane.Terminated
}

// statusTime is the time to keep for a report: the drone's own, since it may
// come long after the fact, but never before the last status, in the future or
// off by more than a clock that is set may be.
func statusTime(atMS int64, last, now time.Time) time.Time {
	at := time.UnixMilli(atMS).UTC()
	switch {
	case at.After(now):
		return now
	case at.Before(last.Add(-time.Minute)):
		return now
	case at.Before(last):
		return last
	}
	return at
}

// enter writes a state that is later than b's, and all that follows from it.
func (c *Controller) enter(tx store.Tx, b store.Backend, s plane.State, at time.Time, out *recorded) error {
	if s.Digest == "" {
		s.Digest = b.State.Digest // a drone that has nothing of it any more doesn't know
	}
	recorded, err := tx.RecordState(b.ID, s, at)
	if err != nil || !recorded {
		return err
	}
	out.passed = append(out.passed, passage{b, s, at})
	if b.Volume != "" && !reachedStart(b.State) && reachedStart(s) {
		if err := tx.MakeVolume(b.Volume); err != nil {
			return err
		}
	}
	if s.Digest != "" && b.State.Digest == "" && b.Release > 0 {
		if _, err := tx.NoteDigest(b.App, b.Release, s.Digest); err != nil {
			return err
		}
	}
	event := store.Event{Actor: "node " + string(b.Drone), Key: b.Key, Backend: b.ID, Generation: b.Generation, Node: b.Drone}
	switch s.Status {
	case plane.Ready:
		event.Kind, event.Text = "ready", fmt.Sprintf("Ready after %s.", span(at.Sub(b.CreatedAt)))
	case plane.Terminating, plane.HardTerminating:
		why, err := tellBecause(tx, b, s, at)
		if err != nil {
			return err
		}
		event.Kind, event.Text = "stopping", fmt.Sprintf("Asked to end, because %s.", why)
	case plane.Terminated:
		why, err := tellBecause(tx, b, s, at)
		if err != nil {
			return err
		}
		event.Kind, event.Text = "ended", endTold(s, why)
		if err := c.countEnd(tx, b, s, at); err != nil {
			return err
		}
		if err := release(tx, b); err != nil {
			return err
		}
	}
	if event.Kind != "" {
		if err := tx.InsertEvent(event); err != nil {
			return err
		}
	}
	now, route, err := c.readRoute(tx, b.ID)
	if err != nil {
		return err
	}
	out.now[b.ID], out.routes[b.ID] = now, route
	return nil
}

// tellBecause is because with what the log says of who asked.
func tellBecause(tx store.Tx, b store.Backend, s plane.State, at time.Time) (string, error) {
	var events []store.Event
	if s.Reason == plane.External {
		var err error
		if events, err = tx.KeyEvents(b.Key.Namespace, b.Key.Name, eventsOfOne); err != nil {
			return "", err
		}
	}
	return because(b, s, at, events), nil
}

// eventsOfOne is how many of the latest events of a key are looked through for
// those of one backend.
const eventsOfOne = 20

// reachedStart reports whether the backend's program may have run.
func reachedStart(s plane.State) bool {
	last := s.Status
	if last.Ending() {
		last = s.LastStatus
	}
	return last.Order() >= plane.Starting.Order()
}

// countEnd keeps the key's crash count.
func (c *Controller) countEnd(tx store.Tx, b store.Backend, s plane.State, at time.Time) error {
	if refused(s) {
		return nil
	}
	started := b.CreatedAt
	if b.ReadyAt.IsZero() {
		steps, err := tx.History(b.ID)
		if err != nil {
			return err
		}
		for _, st := range steps {
			if st.State.Status == plane.Starting {
				started = st.At // what came before was preparation
			}
		}
	}
	was, err := tx.Crash(b.Key.Namespace, b.Key.Name)
	if err != nil {
		return err
	}
	if next, changed := nextCrash(was, s, at.Sub(started), at); changed {
		return tx.SetCrash(b.Key.Namespace, b.Key.Name, next)
	}
	return nil
}

const refusedText = "The drone refused to start it: "

// refusedBecause tells a refusal, as the message of an exit.
func refusedBecause(r plane.Refusal) string {
	why := map[plane.Refusal]string{
		plane.RefusedEpoch:      "its lease had been granted anew",
		plane.RefusedLate:       "the message came too late",
		plane.RefusedStoreEpoch: "the message was of an older store",
		plane.RefusedTombstone:  "it was asked to end before it came",
		plane.RefusedKeyInUse:   "another generation of the key still runs there",
		plane.RefusedClosing:    "it takes nothing any more",
	}[r]
	if why == "" {
		why = string(r)
	}
	return refusedText + why + "."
}

// refused reports whether a backend ended because its drone didn't take it.
func refused(s plane.State) bool {
	return s.Status == plane.Terminated && s.Exit != nil && len(s.Exit.Message) > len(refusedText) &&
		s.Exit.Message[:len(refusedText)] == refusedText
}

// recordActed forgets an action that was acknowledged. A refused spawn will
// never start there: the drone's word frees the key.
func (c *Controller) recordActed(tx store.Tx, s *droneSession, m wire.Acted, out *recorded) error {
	if _, err := tx.DeleteAction(m.Action); err != nil || m.Refusal == "" {
		return err
	}
	b, ok, err := out.read(tx, s, m.Backend)
	if err != nil || !ok || b.State.Status != plane.Scheduled {
		return err
	}
	state := plane.State{
		Status: plane.Terminated, LastStatus: b.State.Status, Exit: &plane.Exit{Message: refusedBecause(m.Refusal)},
	}
	return c.enter(tx, b, state, tx.Now(), out)
}

// tell logs what happened to a backend, so that it can be followed by its key,
// itself or the request that it was started for.
func (c *Controller) tell(what string, b store.Backend, more ...any) {
	c.log.Info(what, append([]any{
		"key", b.Key.String(), "backend", b.ID, "generation", b.Generation, "drone", b.Drone, "request", b.RequestID,
	}, more...)...)
}

// recordDone tells everybody, after the commit.
func (c *Controller) recordDone(out recorded) {
	c.cfg.Metrics.passed(out.passed)
	for id, b := range out.now {
		switch status := b.State.Status; {
		case status == plane.Terminated:
			c.tell("a backend has ended", b, "reason", endReason(b.State))
			c.routes.begin(id, c.proxies.of(b.Cluster))
			c.gone(b)
			continue
		case status.Ending():
			c.use.forget(id)
		case status == plane.Ready:
			c.tell("a backend is ready", b)
			c.use.ready(b, time.Now())
		default:
			if c.starting.advance(out.routes[id]) {
				c.push(out.routes[id]) // it isn't being pulled any more
			}
			c.hub.notify(topic(id))
			continue // on its way to ready: no proxy does anything else for it
		}
		c.push(out.routes[id])
		c.hub.notify(topic(id))
	}
	if len(out.now) > 0 {
		c.hub.notify(topicEvents)
	}
}
