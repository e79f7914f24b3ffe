package controller

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

const (
	recordQueue = 16384 // reports of one drone that wait; one that goes further is cut off
	recordBatch = 256   // reports in one transaction

	// recordLinger is how long acknowledgements alone wait for the statuses
	// that follow them, so that one commit serves both: nobody waits for them.
	recordLinger = 10 * time.Millisecond
)

var errFlood = errors.New("the drone reports faster than the store takes it")

// recorder writes what a drone reports, in its order, and acknowledges it.
type recorder struct {
	c    *Controller
	s    *droneSession
	wake chan struct{} // capacity 1

	mu    sync.Mutex // guards the fields below
	queue []report
}

// report is a status, or the answer to an action.
type report struct {
	status *wire.Status
	acted  *wire.Acted
}

func (r report) backend() plane.BackendID {
	if r.status != nil {
		return r.status.Backend
	}
	return r.acted.Backend
}

// urgent reports whether someone may wait for it to be recorded.
func (r report) urgent() bool { return r.status != nil || r.acted.Refusal != "" }

func newRecorder(c *Controller, s *droneSession) *recorder {
	return &recorder{c: c, s: s, wake: make(chan struct{}, 1)}
}

// take queues a message; it never waits.
func (r *recorder) take(m wire.Message) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch m := m.(type) {
	case wire.Statuses:
		for i := range m.Reports {
			r.c.foretell(m.Reports[i].Backend, m.Reports[i].Generation, m.Reports[i].State)
			r.queue = append(r.queue, report{status: &m.Reports[i]})
		}
	case wire.Acted:
		r.queue = append(r.queue, report{acted: &m})
	}
	if len(r.queue) > recordQueue {
		return errFlood
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return nil
}

func (r *recorder) next() []report {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.queue), recordBatch)
	batch := slices.Clone(r.queue[:n])
	r.queue = r.queue[n:]
	if len(r.queue) == 0 {
		r.queue = nil
	}
	return batch
}

func (r *recorder) run(ctx context.Context) {
	var acks sync.WaitGroup
	defer acks.Wait()
	for {
		batch := r.next()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			}
			continue
		}
		if slices.IndexFunc(batch, report.urgent) < 0 {
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			case <-time.After(recordLinger):
			}
			batch = append(batch, r.next()...)
		}
		for pause := retryFirst; ; pause = min(2*pause, retryMost) {
			err := r.record(ctx, batch, &acks)
			if err == nil {
				break
			}
			r.c.log.Warn("could not record a drone's reports; it is tried again", "drone", r.s.name, "error", err)
			select {
			case <-ctx.Done():
				return // unacknowledged: the drone sends them again
			case <-time.After(pause):
			}
		}
	}
}

func (r *recorder) record(ctx context.Context, batch []report, acks *sync.WaitGroup) error {
	ids := make([]plane.BackendID, 0, len(batch))
	for _, x := range batch {
		if id := x.backend(); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	var out recorded
	err := r.c.change(ctx, ids, func(tx store.Tx) error {
		out = recorded{routes: map[plane.BackendID]plane.Route{}, now: map[plane.BackendID]store.Backend{}}
		for _, x := range batch {
			var err error
			if x.status != nil {
				err = r.c.recordStatus(tx, r.s, *x.status, &out)
			} else {
				err = r.c.recordActed(tx, r.s, *x.acted, &out)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, x := range batch {
		if x.acted != nil {
			r.s.courier.done(x.acted.Action)
		}
	}
	r.c.recordDone(out)
	r.acknowledge(ctx, batch, acks)
	return nil
}

// acknowledge sends StatusDone: at once, but that of an end only when the
// proxies have withdrawn the route, so that the address isn't reused before.
func (r *recorder) acknowledge(ctx context.Context, batch []report, acks *sync.WaitGroup) {
	var seqs []int64
	for _, x := range batch {
		if x.status == nil {
			continue
		}
		withdrawn, pending := r.c.routes.pending(x.status.Backend)
		if x.status.State.Status != plane.Terminated || !pending {
			seqs = append(seqs, x.status.Seq)
			continue
		}
		acks.Go(func() {
			select {
			case <-withdrawn:
			case <-time.After(routeWithdrawal):
				r.c.routes.forget(x.status.Backend)
			case <-ctx.Done():
				return
			}
			_ = r.s.conn.Send(wire.StatusDone{Seqs: []int64{x.status.Seq}})
		})
	}
	if len(seqs) > 0 {
		_ = r.s.conn.Send(wire.StatusDone{Seqs: seqs})
	}
}
