package controller

import (
	"errors"
	"time"

	"plane"
	"plane/internal/store"
)

// facts are what the store knows of a key.
type facts struct {
	held    bool // the key has a row
	backend store.Backend
	drone   *store.Drone // nil = it was removed
	asked   bool         // its end was asked for and the drone may not know yet
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// readFacts reads them in one transaction.
func readFacts(tx store.Tx, p place) (facts, error) {
	row, err := tx.Key(p.namespace, p.name)
	if errors.Is(err, store.ErrNotFound) {
		return facts{}, nil
	}
	if err != nil {
		return facts{}, err
	}
	f := facts{held: true}
	if f.backend, err = tx.Backend(row.Backend); err != nil {
		return facts{}, err
	}
	d, err := tx.Drone(f.backend.Drone)
	switch {
	case err == nil:
		f.drone = &d
	case !errors.Is(err, store.ErrNotFound):
		return facts{}, err
	}
	pending, err := tx.Pending(f.backend.ID)
	if err != nil {
		return facts{}, err
	}
	for _, a := range pending {
		f.asked = f.asked || a.Kind == actionTerminate
	}
	return f, nil
}

// verdict is what a connect finds.
type verdict int

const (
	vacant   verdict = iota // nobody holds the key
	lapsed                  // its holder is dead by lease arithmetic: it may be taken over
	ending                  // its holder has been asked to end: wait
	mismatch                // held with another tag
	silent                  // its drone isn't heard, and its lease runs
	attached                // held by a live backend
)

// heardWithin is how long after a renewal a drone counts as reachable: two may
// be lost or late on a busy machine.
func heardWithin(p plane.Policy) time.Duration { return 3 * p.Terms().Renew }

// judge decides what a connect finds at now. isLapsed is the lapse rule, with
// the state of the database's clock.
func judge(f facts, tag string, now time.Time, isLapsed func(plane.Policy, time.Time, time.Time) bool) verdict {
	switch {
	case !f.held:
		return vacant
	case f.drone == nil:
		return lapsed
	}
	b := f.backend
	switch {
	case b.Epoch != f.drone.Epochs.Of(b.Policy):
		return lapsed
	case isLapsed(b.Policy, f.drone.RenewedAt, now):
		return lapsed
	case f.asked || b.State.Status.Ending():
		return ending
	case b.Key.Tag != tag:
		return mismatch
	case now.Sub(f.drone.RenewedAt) > heardWithin(b.Policy):
		return silent
	}
	return attached
}
