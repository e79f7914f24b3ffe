package proxy

import (
	"sync"
	"time"

	"plane"
)

const (
	missLife   = time.Second      // how long "unknown" is believed
	maxMisses  = 4096             // remembered at once
	maxEnded   = 16384            // backends remembered to have ended
	maxSleepy  = 65536            // keys without a backend whose generation is remembered
	sleepyLife = 30 * time.Minute // how long at least, if there is room
)

// keyed is the highest generation that was heard of for a key. It outlives the
// key's routes, so that a late word of an older one is known to be late.
type keyed struct {
	highest  plane.Generation
	backends []*backend
	since    time.Time // it has none
}

// table holds the routes. Every map has its bound: backends are withdrawn or
// forgotten, the rest ages or is cut to size when it grows.
type table struct {
	uses *uses

	mu       sync.RWMutex // guards the fields below; taken before a backend's
	seq      int64        // rises with every news
	backends map[plane.BackendID]*backend
	static   map[string]*backend                 // by hash of the static token
	byName   map[ref]*backend                    // of key URLs
	keys     map[string]*keyed                   // by hash of the key
	misses   map[ref]time.Time                   // → until
	ended    map[plane.BackendID]*plane.RouteEnd // how, of those that failed to start
	endings  []plane.BackendID                   // of ended, oldest first
}

func newTable(u *uses) *table {
	return &table{
		uses:     u,
		backends: map[plane.BackendID]*backend{},
		static:   map[string]*backend{},
		byName:   map[ref]*backend{},
		keys:     map[string]*keyed{},
		misses:   map[ref]time.Time{},
		ended:    map[plane.BackendID]*plane.RouteEnd{},
	}
}

// find gives the backend of a ref, or whether it is known that there is none.
func (t *table) find(r ref, now time.Time) (b *backend, none bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch r.kind {
	case refBackend:
		b = t.backends[plane.BackendID(r.name)]
		if _, ended := t.ended[plane.BackendID(r.name)]; ended {
			return nil, true
		}
	case refStatic:
		b = t.static[r.name]
	case refKey:
		b = t.byName[r]
	}
	if b != nil {
		return b, false
	}
	until, missed := t.misses[r]
	return nil, missed && now.Before(until)
}

// current is the number of the latest news.
func (t *table) current() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.seq
}

// apply takes news of a route that isn't terminated. It gives the backend, or
// nil if the news is late: of one that ended, or of an older generation.
func (t *table) apply(r *plane.Route, now time.Time) *backend {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seq++
	if _, ended := t.ended[r.Backend]; ended {
		return nil
	}
	k := t.keys[r.KeyHash]
	if k == nil {
		t.trimKeysLocked(now)
		k = &keyed{}
		t.keys[r.KeyHash] = k
	}
	if r.Generation < k.highest {
		if b := t.backends[r.Backend]; b != nil {
			t.removeLocked(b, errSuperseded, nil, now)
		}
		return nil
	}
	if r.Generation > k.highest {
		k.highest = r.Generation
		for _, old := range append([]*backend(nil), k.backends...) {
			if route, _ := old.look(); route == nil || route.Generation < r.Generation {
				t.removeLocked(old, errSuperseded, nil, now)
			}
		}
	}
	b := t.backends[r.Backend]
	if b == nil {
		b = t.addLocked(r.Backend)
	}
	if route, _ := b.look(); route == nil {
		k.backends = append(k.backends, b)
	}
	if r.StaticHash != "" {
		t.static[r.StaticHash] = b
		delete(t.misses, ref{kind: refStatic, name: r.StaticHash})
	}
	delete(t.misses, ref{kind: refBackend, name: string(r.Backend)})
	b.take(r, t.seq)
	return b
}

func (t *table) addLocked(id plane.BackendID) *backend {
	base := t.uses.highest.Load()
	b := &backend{id: id, uses: t.uses, opened: base, base: base}
	t.backends[id] = b
	return b
}

// quiesce holds back new requests of a backend, known here or not, unless it is
// in use. It reports whether it is idle.
func (t *table) quiesce(id plane.BackendID, opened int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ended := t.ended[id]; ended {
		return true
	}
	b := t.backends[id]
	if b == nil {
		b = t.addLocked(id)
	}
	return b.quiesce(opened)
}

// resume ends quiesce.
func (t *table) resume(id plane.BackendID, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.backends[id]
	if b == nil {
		return
	}
	b.resume()
	if route, _ := b.look(); route == nil && b.forget() {
		t.unlinkLocked(b, now)
	}
}

// name remembers which backend a key URL led to.
func (t *table) name(r ref, b *backend) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.backends[b.id] == b && t.byName[r] != b {
		t.byName[r] = b
		b.names = append(b.names, r)
	}
}

// withdraw takes the word that a backend has ended. When it returns, nothing
// more is sent to it, and no late news brings it back. how says how, if known.
func (t *table) withdraw(id plane.BackendID, how *plane.RouteEnd, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seq++
	if _, known := t.ended[id]; !known {
		if len(t.endings) >= maxEnded {
			for _, old := range t.endings[:maxEnded/4] {
				delete(t.ended, old)
			}
			t.endings = append([]plane.BackendID(nil), t.endings[maxEnded/4:]...)
		}
		if t.ended[id] = nil; how != nil && how.Early {
			t.ended[id] = how
		}
		t.endings = append(t.endings, id)
	}
	if b := t.backends[id]; b != nil {
		t.removeLocked(b, errEnded, how, now)
	}
}

// endOf tells how a backend failed to start, or nil.
func (t *table) endOf(id plane.BackendID) *plane.RouteEnd {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.ended[id]
}

// miss takes the answer that there is no such backend, to a question asked at
// seq. It reports false if there has been news of it since.
func (t *table) miss(r ref, seq int64, now time.Time) bool {
	t.mu.Lock()
	b := (*backend)(nil)
	switch r.kind {
	case refBackend:
		b = t.backends[plane.BackendID(r.name)]
	case refStatic:
		b = t.static[r.name]
	}
	if b != nil {
		b.mu.Lock()
		newer := b.route != nil && b.seq > seq
		b.mu.Unlock()
		if newer {
			t.mu.Unlock()
			return false
		}
	}
	if len(t.misses) >= maxMisses {
		clear(t.misses)
	}
	t.misses[r] = now.Add(missLife)
	t.mu.Unlock()
	if b != nil {
		t.withdraw(b.id, nil, now)
	}
	return true
}

// removeLocked ends b for good and takes it out of every map.
func (t *table) removeLocked(b *backend, why error, how *plane.RouteEnd, now time.Time) {
	b.end(why, how)
	t.unlinkLocked(b, now)
}

func (t *table) unlinkLocked(b *backend, now time.Time) {
	delete(t.backends, b.id)
	for _, r := range b.names {
		if t.byName[r] == b {
			delete(t.byName, r)
		}
	}
	route, _ := b.look()
	if route == nil {
		return
	}
	if t.static[route.StaticHash] == b {
		delete(t.static, route.StaticHash)
	}
	k := t.keys[route.KeyHash]
	if k == nil {
		return
	}
	for i, other := range k.backends {
		if other == b {
			k.backends = append(k.backends[:i], k.backends[i+1:]...)
			break
		}
	}
	if len(k.backends) == 0 {
		k.since = now
	}
}

// trimKeysLocked keeps the keys without a backend within bounds.
func (t *table) trimKeysLocked(now time.Time) {
	if len(t.keys)-len(t.backends) < maxSleepy {
		return
	}
	for life := sleepyLife; len(t.keys)-len(t.backends) >= maxSleepy*3/4; life /= 2 {
		for hash, k := range t.keys {
			if len(k.backends) == 0 && now.Sub(k.since) >= life {
				delete(t.keys, hash)
			}
		}
		if life == 0 {
			return
		}
	}
}

// review is called with a new connection to a controller: what isn't used is
// forgotten, and will be asked for when it is; the rest is returned to be asked
// for now. Another store than before means that revisions count anew.
func (t *table) review(otherStore bool, now time.Time) []*backend {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.misses)
	var used []*backend
	for _, b := range t.backends {
		if b.forget() {
			t.unlinkLocked(b, now)
			continue
		}
		if otherStore {
			b.unrevise()
		}
		used = append(used, b)
	}
	return used
}

// each calls f for every backend held.
func (t *table) each(f func(*backend)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, b := range t.backends {
		f(b)
	}
}
