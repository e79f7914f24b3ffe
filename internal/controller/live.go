package controller

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"

	"plane"
)

// place is what at most one live backend exists for.
type place struct{ namespace, name string }

func placeOf(k plane.Key) place { return place{k.Namespace, k.Name} }

// liveKey is all that a connect to a live key needs to know. It never changes.
type liveKey struct {
	key        plane.Key
	backend    plane.BackendID
	generation plane.Generation
	cluster    plane.ClusterName
	app        string
	release    int64 // of the app; 0 = of no app
	access     plane.Access
	ports      map[string]int // further ones
	subdomain  string
	static     bool
	policy     plane.Policy
	status     plane.Status
	revocation int64
	drone      *droneSession // nil = not connected to this controller
}

// liveKeys remembers the live keys that were read from an exclusive store, so
// that a connect to one reads nothing. It is filled by readers only, and every
// transaction that changes a backend empties its entry from before its start
// until after its end: what is found here is what the store would answer.
type liveKeys struct {
	off  bool // the store isn't exclusive: remember nothing
	seed maphash.Seed

	mu     sync.Mutex // guards the fields below
	byKey  map[place]*liveKey
	byID   map[plane.BackendID]place
	shards [256]shard
	doomed map[plane.BackendID]struct{} // their end was asked for; until it is recorded
}

type shard struct {
	version uint64 // rises with every begin and end of a change
	writers int
}

func newLiveKeys(exclusive bool) *liveKeys {
	l := &liveKeys{
		off:    !exclusive,
		seed:   maphash.MakeSeed(),
		byKey:  map[place]*liveKey{},
		byID:   map[plane.BackendID]place{},
		doomed: map[plane.BackendID]struct{}{},
	}
	for i := range l.shards {
		l.shards[i].version = 1 // 0 is no version
	}
	return l
}

func (l *liveKeys) shardOf(id plane.BackendID) *shard {
	return &l.shards[maphash.String(l.seed, string(id))%uint64(len(l.shards))]
}

func (l *liveKeys) find(p place) *liveKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byKey[p]
}

// changing marks backends as being changed and gives the function that ends it.
func (l *liveKeys) changing(ids []plane.BackendID) func() {
	l.mark(ids, 1)
	return func() { l.mark(ids, -1) }
}

func (l *liveKeys) mark(ids []plane.BackendID, writers int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		s := l.shardOf(id)
		s.version++
		s.writers += writers
		l.dropLocked(id)
	}
}

func (l *liveKeys) dropLocked(id plane.BackendID) {
	p, ok := l.byID[id]
	if !ok {
		return
	}
	delete(l.byID, id)
	if e := l.byKey[p]; e != nil && e.backend == id {
		delete(l.byKey, p)
	}
}

// version is to be read before the read whose result fill gets.
func (l *liveKeys) version(id plane.BackendID) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shardOf(id).version
}

// fill remembers e unless its backend was changed since version was read.
func (l *liveKeys) fill(e *liveKey, version uint64) {
	if l.off {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.shardOf(e.backend)
	if _, doomed := l.doomed[e.backend]; doomed || s.writers != 0 || s.version != version {
		return
	}
	p := placeOf(e.key)
	if old := l.byKey[p]; old != nil {
		delete(l.byID, old.backend)
	}
	l.byKey[p], l.byID[e.backend] = e, p
}

// doom notes that the backend's end was asked for: nobody is sent to it any more.
func (l *liveKeys) doom(id plane.BackendID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doomed[id] = struct{}{}
	l.dropLocked(id)
}

func (l *liveKeys) isDoomed(id plane.BackendID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.doomed[id]
	return ok
}

// ended forgets that id was doomed: its end is in the store.
func (l *liveKeys) ended(id plane.BackendID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.doomed, id)
}

func (l *liveKeys) allDoomed() []plane.BackendID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.doomed))
}
