package sqlite

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"plane/internal/store"
)

// readers is the pool of connections that only read.
type readers struct {
	path string
	now  func() time.Time
	free chan struct{} // one token for each connection that may be used
	stop chan struct{}

	mu     sync.Mutex // guards the fields below
	idle   []*conn    // the one used last is taken first: its cache is warm
	closed bool
}

func newReaders(path string, now func() time.Time) *readers {
	n := max(4, 2*runtime.GOMAXPROCS(0))
	r := &readers{path: path, now: now, free: make(chan struct{}, n), stop: make(chan struct{})}
	for range n {
		r.free <- struct{}{}
	}
	return r
}

func (r *readers) close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	close(r.stop)
	for range cap(r.free) {
		<-r.free
	}
	var err error
	for _, c := range r.idle {
		err = errors.Join(err, c.close())
	}
	return err
}

func (r *readers) take() (*conn, error) {
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return c, nil
	}
	r.mu.Unlock()
	return connect(r.path, "cache_size(-4096)", "temp_store(MEMORY)", "query_only(1)")
}

func (r *readers) put(c *conn) {
	r.mu.Lock()
	r.idle = append(r.idle, c)
	r.mu.Unlock()
}

func (r *readers) view(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-r.stop:
		return store.ErrClosed
	default:
	}
	select {
	case <-r.free:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.stop:
		return store.ErrClosed
	}
	defer func() { r.free <- struct{}{} }()
	c, err := r.take()
	if err != nil {
		return err
	}
	return r.snapshot(c, fn)
}

// snapshot runs fn between BEGIN and COMMIT. The connection goes back to the
// pool only if its transaction surely ended.
func (r *readers) snapshot(c *conn, fn func(store.Tx) error) (err error) {
	if _, err := c.exec("BEGIN"); err != nil {
		_ = c.close()
		return err
	}
	defer func() {
		if _, e := c.exec("COMMIT"); e != nil {
			_ = c.close()
			err = errors.Join(err, e)
			return
		}
		r.put(c)
	}()
	t := &tx{c: c, clock: r.now}
	if err := fn(t); err != nil {
		return err
	}
	return t.fault
}
