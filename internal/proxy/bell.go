package proxy

import "sync"

// bells ring for streams when a key URL leads to another backend.
type bells struct {
	mu  sync.Mutex // guards the field below
	all map[ref]*bell
}

type bell struct {
	rung      chan struct{}
	listeners int
}

// listen gives a channel that closes at the next ring. stop must be called once.
func (q *bells) listen(r ref) (rung <-chan struct{}, stop func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.all[r]
	if b == nil {
		b = &bell{rung: make(chan struct{})}
		q.all[r] = b
	}
	b.listeners++
	return b.rung, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if b.listeners--; b.listeners == 0 && q.all[r] == b {
			delete(q.all, r)
		}
	}
}

// ringApp tells those who listen for keys of an app.
func (q *bells) ringApp(app string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for r, b := range q.all {
		if r.kind == refKey && r.app == app {
			delete(q.all, r)
			close(b.rung)
		}
	}
}

// ring tells those who listen.
func (q *bells) ring(r ref) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b := q.all[r]; b != nil {
		delete(q.all, r)
		close(b.rung)
	}
}
