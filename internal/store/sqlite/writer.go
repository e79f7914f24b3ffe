package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"plane/internal/store"
)

const (
	queued    = 1024                 // closures that wait in a queue before callers wait to get in
	batchMost = 512                  // closures in one commit
	batchTime = 4 * time.Millisecond // after which a batch takes no further closure
	yields    = 2                    // times the writer lets callers run before it commits
)

// job is one closure and its caller.
type job struct {
	fn   func(store.Tx) error
	done chan error // holds one result

	mu        sync.Mutex // held while fn runs
	abandoned bool       // its caller has gone: fn isn't run any more
	panicked  any        // what fn panicked with; read after done
}

// errPanic is the result of a closure that panicked: the caller panics with it.
var errPanic = errors.New("closure panicked")

// errGone is the result of a closure whose caller has gone.
var errGone = errors.New("caller has gone")

// writer owns the connection that writes.
type writer struct {
	c       *conn
	now     func() time.Time
	wrote   func() // told after every commit that changed something
	urgent  chan *job
	queue   chan *job
	stop    chan struct{}
	stopped chan struct{}
	ending  sync.Once
	jobs    []*job   // of the batch
	results []error  // of its closures
	kinds   []string // of the events that they recorded
	metrics *Metrics
}

func newWriter(path string, now func() time.Time, wrote func(), metrics *Metrics) (*writer, error) {
	c, err := connect(path, "journal_mode(WAL)", "cache_size(-16384)", "temp_store(MEMORY)",
		fmt.Sprintf("wal_autocheckpoint(%d)", logMost))
	if err != nil {
		return nil, err
	}
	w := &writer{
		c:       c,
		now:     now,
		wrote:   wrote,
		urgent:  make(chan *job, queued),
		queue:   make(chan *job, queued),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		metrics: metrics,
	}
	go w.run()
	return w, nil
}

func (w *writer) close() error {
	w.ending.Do(func() { close(w.stop) })
	<-w.stopped
	return w.c.close()
}

// do queues fn and waits for its commit.
func (w *writer) do(ctx context.Context, queue chan *job, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-w.stop:
		return store.ErrClosed
	default:
	}
	j := &job{fn: fn, done: make(chan error, 1)}
	select {
	case queue <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stop:
		return store.ErrClosed
	}
	select {
	case err := <-j.done:
		return j.result(err)
	case <-ctx.Done():
	case <-w.stopped:
	}
	// Once the lock is ours fn doesn't run, nor will it: the caller may use
	// what it shares with fn.
	j.mu.Lock()
	j.abandoned = true
	j.mu.Unlock()
	select {
	case err := <-j.done:
		return j.result(err)
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return store.ErrClosed
}

func (j *job) result(err error) error {
	if errors.Is(err, errPanic) {
		panic(j.panicked)
	}
	return err
}

func (w *writer) run() {
	// A closure that ends its goroutine (a test's FailNow) ends this one:
	// another takes its place.
	orderly := false
	defer func() {
		if !orderly {
			_, _ = w.c.exec("ROLLBACK")
			for _, j := range w.jobs {
				j.done <- errors.New("a closure of this commit ended the writer's goroutine")
			}
			go w.run()
			return
		}
		close(w.stopped)
	}()
	for {
		w.jobs, w.results, w.kinds = w.jobs[:0], w.results[:0], w.kinds[:0]
		select {
		case <-w.stop:
			orderly = true
			return
		case j := <-w.urgent:
			w.batch(j)
		default:
			select {
			case <-w.stop:
				orderly = true
				return
			case j := <-w.urgent:
				w.batch(j)
			case j := <-w.queue:
				w.batch(j)
			}
		}
	}
}

// batch runs first and what else waits in one transaction.
func (w *writer) batch(first *job) {
	began := time.Now()
	if _, err := w.c.exec("BEGIN IMMEDIATE"); err != nil {
		first.done <- fmt.Errorf("begin: %w", err)
		return
	}
	wrote, idle := false, 0
	for j := first; j != nil; {
		w.jobs = append(w.jobs, j)
		saved, err, fault := w.try(j)
		if fault != nil {
			w.rescue(len(w.jobs)-1, fault)
			return
		}
		w.results = append(w.results, err)
		wrote = wrote || saved && err == nil
		if len(w.jobs) >= batchMost || time.Since(began) > batchTime {
			break
		}
		for j = w.waiting(); j == nil && idle < yields; j = w.waiting() {
			// Callers that the last commit has woken are about to come back:
			// letting them run first makes one commit out of two.
			idle++
			runtime.Gosched()
		}
	}
	if _, err := w.c.exec("COMMIT"); err != nil {
		_, _ = w.c.exec("ROLLBACK")
		for _, j := range w.jobs {
			j.done <- fmt.Errorf("commit: %w", err)
		}
		return
	}
	if wrote {
		w.wrote()
		w.metrics.committed(began, len(w.jobs), w.kinds)
	}
	for i, j := range w.jobs {
		j.done <- w.results[i]
	}
}

// waiting is the next closure, nil if none waits.
func (w *writer) waiting() *job {
	select {
	case j := <-w.urgent:
		return j
	default:
	}
	select {
	case j := <-w.urgent:
		return j
	case j := <-w.queue:
		return j
	default:
		return nil
	}
}

// try runs one closure. err is its result, with which it alone was undone;
// fault means that the whole transaction is lost.
func (w *writer) try(j *job) (saved bool, err, fault error) {
	t := &tx{c: w.c, clock: w.now, writes: true}
	err = j.call(t)
	if err == nil {
		err = t.fault // of a statement, whatever fn made of it
	}
	if !t.saved {
		return false, err, nil
	}
	if err != nil {
		if _, fault = w.c.exec("ROLLBACK TO closure"); fault != nil {
			return true, err, fmt.Errorf("%w; roll back: %w", err, fault)
		}
	}
	if _, fault = w.c.exec("RELEASE closure"); fault != nil {
		return true, err, fmt.Errorf("release: %w", fault)
	}
	if err == nil {
		w.kinds = append(w.kinds, t.kinds...)
	}
	return true, err, nil
}

func (j *job) call(t *tx) (err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.abandoned {
		return errGone
	}
	returned := false
	defer func() {
		if p := recover(); p != nil && !returned {
			j.panicked, err = p, errPanic
		}
	}()
	err = j.fn(t)
	returned = true
	return err
}

// rescue is for a transaction that SQLite gave up because of one closure (disk
// full, I/O error): that one fails, and the others run again, each on its own.
func (w *writer) rescue(culprit int, fault error) {
	_, _ = w.c.exec("ROLLBACK")
	jobs := w.jobs
	w.jobs = nil
	for i, j := range jobs {
		if i == culprit {
			j.done <- fault
			continue
		}
		j.done <- w.alone(j)
	}
}

func (w *writer) alone(j *job) error {
	if _, err := w.c.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	_, err, fault := w.try(j)
	if fault != nil {
		_, _ = w.c.exec("ROLLBACK")
		return fault
	}
	if _, fault := w.c.exec("COMMIT"); fault != nil {
		_, _ = w.c.exec("ROLLBACK")
		return fmt.Errorf("commit: %w", fault)
	}
	return err
}
