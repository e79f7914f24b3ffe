package leasesim

import (
	"fmt"
	"slices"
	"time"

	"plane"
)

// state is what the database holds. Its methods keep the conditions that
// store.Tx promises: the outcome of every conditional update is checked.
type state struct {
	store       plane.StoreEpoch
	counter     uint32
	frozenUntil int64 // nothing is granted before; on the database's clock
	noLapse     int64 // nothing lapses before
	key         int   // backend that holds the key, 0 = none
	drones      [drones]droneRow
	backends    []backendRow // those not ended
	ended       []int        // latest ids that ended
	actions     []action
}

type droneRow struct {
	boot, agent int
	epoch       int64
	renewedAt   int64
	renewal     int64
	confirmed   plane.StoreEpoch
}

type backendRow struct {
	id         int
	generation plane.Generation
	drone      int
	epoch      int64
	createdAt  int64
}

type action struct {
	id, backend, drone int
	generation         plane.Generation
	spawn              bool
}

func (s state) clone() state {
	s.backends = slices.Clone(s.backends)
	s.ended = slices.Clone(s.ended)
	s.actions = slices.Clone(s.actions)
	return s
}

func (s *state) backend(id int) *backendRow {
	for i := range s.backends {
		if s.backends[i].id == id {
			return &s.backends[i]
		}
	}
	return nil
}

func (s *state) insertKey(b backendRow) bool {
	if s.key != 0 {
		return false
	}
	s.key = b.id
	s.backends = append(s.backends, b)
	return true
}

// end records that nothing of the backend runs any more, and frees its key.
func (s *state) end(id int) {
	if s.key == id {
		s.key = 0
	}
	s.backends = slices.DeleteFunc(s.backends, func(b backendRow) bool { return b.id == id })
	s.actions = slices.DeleteFunc(s.actions, func(a action) bool { return a.backend == id && a.spawn })
	if !slices.Contains(s.ended, id) {
		s.ended = append(s.ended, id)
		if len(s.ended) > 64 {
			s.ended = s.ended[1:]
		}
	}
}

func (s *state) nextGeneration() plane.Generation {
	s.counter++
	return plane.NewGeneration(s.store.Number, s.counter)
}

// renew is one statement: all of its conditions and its effect.
func (s *state) renew(drone, agent int, number, epoch, now int64) bool {
	d := &s.drones[drone]
	if d.agent != agent || d.epoch != epoch || number <= d.renewal {
		return false
	}
	d.renewedAt, d.renewal = now, number
	return true
}

// raiseEpoch is one statement; after > 0 is a lapse.
func (s *state) raiseEpoch(drone int, epoch int64, p plane.Policy, lapse bool, now int64) bool {
	d := &s.drones[drone]
	if d.epoch != epoch {
		return false
	}
	if lapse && !plane.Lapsed(p, time.Unix(0, d.renewedAt), time.Unix(0, now)) {
		return false
	}
	d.epoch++
	return true
}

func (s *state) raiseStore(id string, least int64, now int64) {
	s.store = plane.StoreEpoch{StoreID: id, Number: 1 + max(s.store.Number, least)}
	s.counter = 0
	s.frozenUntil = now + int64(plane.Balanced.Terms().Store)
	s.noLapse = s.frozenUntil
}

// database is a primary with a standby that lags.
type database struct {
	state    state
	timeline int
	clock    clock
	down     instant // unreachable until then
	past     []snapshot
}

type snapshot struct {
	at    instant
	state state
}

const standbyLag = 4 * time.Second

func (d *database) id() string { return fmt.Sprintf("db/%d", d.timeline) }

// commit keeps what a standby may still have.
func (d *database) commit(at instant, s state) {
	d.state = s
	d.past = append(d.past, snapshot{at, s})
	for len(d.past) > 1 && d.past[1].at.add(standbyLag) < at {
		d.past = d.past[1:]
	}
}

// failover promotes a standby that is lag behind and whose clock is its own.
func (d *database) failover(at instant, lag time.Duration, c clock) {
	kept := d.past[0]
	for _, p := range d.past {
		if p.at.add(lag) <= at {
			kept = p
		}
	}
	d.state = kept.state
	d.past = []snapshot{{at, kept.state}}
	d.timeline++
	d.clock = c
}
