package controller

import (
	"context"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
)

const (
	clockSample = time.Second            // between pairs
	clockRate   = 0.005                  // clocks run at rates this close
	clockJitter = 100 * time.Millisecond // beside the rate
)

// clockPair is the database's clock and our own at one moment.
type clockPair struct {
	db  time.Time
	own plane.Instant
}

// steady is the database-clock rule: whether the database's clock ran like our
// own over the whole window before now. Without pairs that reach back so far
// nothing is known, and it isn't.
func steady(pairs []clockPair, now clockPair, window time.Duration) bool {
	reaches := false
	for _, p := range pairs {
		age := now.own.Sub(p.own)
		if age < 0 {
			return false
		}
		if age >= window {
			reaches = true
			if age > window+2*clockSample {
				continue
			}
		}
		off := now.db.Sub(p.db) - age
		if off.Abs() > time.Duration(clockRate*float64(age))+clockJitter {
			return false
		}
	}
	return reaches
}

// clockWatch collects pairs.
type clockWatch struct {
	clock func() plane.Instant

	mu    sync.Mutex // guards the fields below
	pairs []clockPair
}

func (w *clockWatch) note(p clockPair) {
	keep := plane.Balanced.Terms().Store + 5*clockSample
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pairs = append(w.pairs, p)
	n := 0
	for n < len(w.pairs)-1 && p.own.Sub(w.pairs[n].own) > keep {
		n++
	}
	w.pairs = append(w.pairs[:0], w.pairs[n:]...)
}

// steady may be asked inside a transaction, with its now.
func (w *clockWatch) steady(p plane.Policy, dbNow time.Time) bool {
	now := clockPair{dbNow, w.clock()}
	w.mu.Lock()
	defer w.mu.Unlock()
	return steady(w.pairs, now, p.Terms().Store)
}

// lapsed is plane.Lapsed under the database-clock rule.
func (w *clockWatch) lapsed(p plane.Policy, renewedAt, dbNow time.Time) bool {
	return plane.Lapsed(p, renewedAt, dbNow) && w.steady(p, dbNow)
}

// sample takes a pair.
func (w *clockWatch) sample(ctx context.Context, s store.Store) error {
	var p clockPair
	err := s.View(ctx, func(tx store.Tx) error {
		p = clockPair{tx.Now(), w.clock()}
		return nil
	})
	if err == nil {
		w.note(p)
	}
	return err
}
