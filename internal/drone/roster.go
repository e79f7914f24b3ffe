package drone

import (
	"slices"
	"sync"

	"plane"
	"plane/internal/drone/journal"
)

// roster knows every backend that the drone has or had: those with a runner,
// those that ended and whose end isn't acknowledged, and those that must never
// start here.
type roster struct {
	mu         sync.Mutex // guards the fields below
	runners    map[plane.BackendID]*runner
	keys       map[string]plane.BackendID // by plane.Key.Hash, of what hasn't ended
	ended      map[plane.BackendID]ending
	tombstones map[plane.BackendID]journal.Tombstone
	foreign    map[string]plane.BackendID // in the table, of nobody's knowledge
	orphans    map[plane.BackendID]bool   // found running without any record, and being ended
	closing    bool
	idle       []chan struct{} // closed when no runner is left
}

// ending is a backend that ended and whose end isn't acknowledged.
type ending struct {
	record journal.Backend
	state  plane.State
}

func newRoster() *roster {
	return &roster{
		runners:    map[plane.BackendID]*runner{},
		keys:       map[string]plane.BackendID{},
		ended:      map[plane.BackendID]ending{},
		tombstones: map[plane.BackendID]journal.Tombstone{},
		foreign:    map[string]plane.BackendID{},
		orphans:    map[plane.BackendID]bool{},
	}
}

func (r *roster) get(id plane.BackendID) *runner {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runners[id]
}

func (r *roster) all() []*runner {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*runner, 0, len(r.runners))
	for _, x := range r.runners {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b *runner) int { return int(a.record.AcceptedAt - b.record.AcceptedAt) })
	return out
}

func (r *roster) add(x *runner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runners[x.id] = x
	r.keys[x.record.Key.Hash()] = x.id
}

// free notes that nothing is left of x, which ended as state: its key may be
// used again. Only then is it reported.
func (r *roster) free(x *runner, state plane.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if hash := x.record.Key.Hash(); r.keys[hash] == x.id {
		delete(r.keys, hash)
	}
	r.ended[x.id] = ending{x.record, state}
}

// end drops a runner that was freed and whose end is recorded.
func (r *roster) end(x *runner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.runners, x.id)
	r.idleLocked()
}

// bury replaces an acknowledged end by a tombstone, so that a late copy of its
// order starts nothing.
func (r *roster) bury(id plane.BackendID, t journal.Tombstone) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ended, id)
	r.tombstones[id] = t
}

// prolong lets a tombstone have its time from now on.
func (r *roster) prolong(id plane.BackendID, now plane.Instant) (journal.Tombstone, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tombstones[id]
	if ok {
		// The longest time of all: the policy isn't kept.
		t.Until = max(t.Until, now.Add(plane.Balanced.TombstoneLife()))
		r.tombstones[id] = t
	}
	return t, ok
}

// expire drops tombstones that have had their time and whose end isn't owed to
// the controller any more, and returns their ids.
func (r *roster) expire(now plane.Instant, owed func(plane.BackendID) bool) []plane.BackendID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []plane.BackendID
	for id, t := range r.tombstones {
		if now >= t.Until && !owed(id) {
			gone = append(gone, id)
			delete(r.tombstones, id)
		}
	}
	return gone
}

func (r *roster) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
}

func (r *roster) idleLocked() {
	if len(r.runners) > 0 {
		return
	}
	for _, c := range r.idle {
		close(c)
	}
	r.idle = nil
}

// empty is closed when no runner is left.
func (r *roster) empty() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := make(chan struct{})
	r.idle = append(r.idle, c)
	r.idleLocked()
	return c
}

// lives reports whether something of a backend runs or may still start.
func (r *roster) lives(id plane.BackendID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runners[id] != nil || r.orphans[id]
}

func (r *roster) orphan(id plane.BackendID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.orphans[id] = true
}

func (r *roster) orphanGone(id plane.BackendID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.orphans, id)
}

// uses reports whether a backend with that policy hasn't ended.
func (r *roster) uses(p plane.Policy) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.runners {
		if x.record.Policy == p {
			return true
		}
	}
	return false
}
