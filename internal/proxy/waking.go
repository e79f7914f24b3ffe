package proxy

import (
	"context"
	"sync"
	"time"

	"plane"
	"plane/internal/wait"
)

const (
	maxWakings  = 1024             // starts that pages wait for at once
	failureLife = 30 * time.Second // how long a failed start is remembered for pages that have yet to ask
	// glance is how long a page's request waits before the waiting page is shown:
	// most programs are ready by then, and the page is seen within 200 ms.
	glance = 150 * time.Millisecond
	// lookAgain is how often a start that somebody looks at is asked about.
	lookAgain = 500 * time.Millisecond
)

// waking is the start of one key's backend that pages wait for. It goes on when
// a page is closed or loaded again.
type waking struct {
	what   question
	claims *plane.Claims
	done   chan struct{} // closed when it is over
	began  time.Time

	mu      sync.Mutex // guards the fields below
	backend *backend
	changed chan struct{} // closed at the next change
	failed  *answer       // why it isn't ready, once over; nil = it was
	over    time.Time
}

// look gives what is known now and a channel that closes when it changes.
func (w *waking) look() (b *backend, failed *answer, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.backend, w.failed, w.changed
}

func (w *waking) tell(b *backend, failed *answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backend, w.failed = b, failed
	close(w.changed)
	w.changed = make(chan struct{})
}

// end says that it is over, and why it isn't ready.
func (w *waking) end(failed *answer) {
	b, _, _ := w.look()
	w.tell(b, failed)
	w.mu.Lock()
	w.over = time.Now()
	w.mu.Unlock()
	close(w.done)
}

// progress is the waking's as pages show it.
func (w *waking) progress() progress {
	b, failed, _ := w.look()
	if failed != nil {
		g := failed.progress()
		if b != nil {
			of := progressOf(b)
			g.Backend, g.Generation = of.Backend, of.Generation
		}
		return g
	}
	return progressOf(b)
}

// wakings are those under way and those that failed lately.
type wakings struct {
	mu   sync.Mutex // guards the field below
	all  map[question]*waking
	work sync.WaitGroup
}

// wake gives the waking of a key, which it begins if there is none; it goes on
// until ctx is done. nil: too many.
func (p *Proxy) wake(ctx context.Context, what question, claims *plane.Claims) *waking {
	q := &p.wakings
	q.mu.Lock()
	defer q.mu.Unlock()
	if w := q.all[what]; w != nil && !w.isOver() {
		return w
	}
	if len(q.all) >= maxWakings && q.all[what] == nil {
		q.trimLocked(time.Now().Add(failureLife))
	}
	if len(q.all) >= maxWakings && q.all[what] == nil || p.leaving.Load() {
		return nil
	}
	w := &waking{what: what, claims: claims, began: time.Now(), done: make(chan struct{}), changed: make(chan struct{})}
	q.all[what] = w
	q.work.Go(func() {
		w.end(p.waken(ctx, w))
	})
	return w
}

func (w *waking) isOver() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// find gives the waking that a stream of the same visitor follows, or nil.
func (q *wakings) find(what question) *waking {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all[what]
}

// drop forgets one that is over.
func (q *wakings) drop(w *waking) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all[w.what] == w {
		delete(q.all, w.what)
	}
}

// trim forgets wakings that were over before now, failed ones a little later.
func (q *wakings) trim(now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.trimLocked(now)
}

func (q *wakings) trimLocked(now time.Time) {
	for what, w := range q.all {
		w.mu.Lock()
		old := !w.over.IsZero() && (w.failed == nil || now.Sub(w.over) > failureLife)
		w.mu.Unlock()
		if old {
			delete(q.all, what)
		}
	}
}

// waken brings a key's backend up and waits until it is ready, or says why it
// isn't. It starts no second one after one that ended before it was ready:
// somebody should see why.
func (p *Proxy) waken(ctx context.Context, w *waking) *answer {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeouts.Ready)
	defer cancel()
	b, _ := p.table.find(w.what.ref, time.Now())
	if b != nil && !b.invites(w.claims) {
		b = nil
	}
	for {
		if b == nil {
			var failed *answer
			if b, failed = p.askFor(ctx, w.what); failed != nil {
				return failed
			}
		}
		if b != nil {
			w.tell(b, nil)
			ready, failed := p.awaken(ctx, w, b)
			if ready || failed != nil {
				return failed
			}
		}
		// Its successor is the controller's to name.
		if b = nil; !wait.For(ctx, 10*time.Millisecond) {
			return &later
		}
	}
}

// awaken waits until b is ready, or can't be any more: neither ready nor failed
// means that another one is to be asked for.
func (p *Proxy) awaken(ctx context.Context, w *waking, b *backend) (ready bool, failed *answer) {
	young := false // it was seen before it was ready
	for {
		changed, stop := b.wait()
		status, over, end := b.state()
		young = young || !over && !status.Ending() && status != plane.Ready
		switch {
		case over || status.Ending() && !young:
			stop()
			return false, startFailed(end)
		case status == plane.Ready:
			stop()
			return true, nil
		}
		look := time.NewTimer(lookAgain)
		select {
		case <-changed:
		case <-look.C:
			// Controllers tell when it is ready, not how it gets on.
			_, _, _ = p.ask(ctx, question{ref: ref{kind: refBackend, name: string(b.id)}, glance: true}, p.cfg.Timeouts.Answer)
			w.tell(b, nil)
		case <-ctx.Done():
		}
		look.Stop()
		stop()
		if ctx.Err() != nil {
			return false, &later
		}
	}
}

// startFailed is the answer for a backend that ended before it was ready, or nil.
func startFailed(end *plane.RouteEnd) *answer {
	if end == nil || !end.Early || end.Replaced {
		return nil
	}
	return &answer{
		status: 503, kind: plane.StartFailed, text: end.Message + "\n", output: end.Output,
		early: true, noStore: true, retryAfter: 1,
	}
}

// askFor asks a controller for a key's backend. Neither backend nor answer: it
// ended in between.
func (p *Proxy) askFor(ctx context.Context, what question) (*backend, *answer) {
	a, err := p.answerTo(ctx, what, p.cfg.Timeouts.KeyReady)
	switch {
	case err != nil:
		return nil, &later
	case a.err != nil && a.err.Kind == plane.Unauthorized:
		return nil, &unauthorized
	case a.err != nil:
		refused := p.keyRefusal(a.err)
		return nil, &refused
	case a.backend == nil:
		return nil, startFailed(a.end)
	}
	return a.backend, nil
}

// invites is invitedLocked, for a backend whose route may not be known yet.
func (b *backend) invites(c *plane.Claims) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.route == nil || b.invitedLocked(c)
}

// welcomes is invites for who may also have been revoked.
func (b *backend) welcomes(c *plane.Claims) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.route == nil || b.invitedLocked(c) && (c == nil || allows(b.route, c))
}

// state is what matters to those who wait: the status, whether it is over for
// good, and how it ended if that was said.
func (b *backend) state() (status plane.Status, over bool, end *plane.RouteEnd) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.route != nil {
		status = b.route.Status
	}
	return status, b.gone != nil || b.forgotten, b.last
}

// admitOrShow is admit for a page: what isn't ready at a glance is shown on the
// waiting page, and goes on starting behind it.
func (x *exchange) admitOrShow(ctx context.Context, tk *ticket) *answer {
	if b, _ := x.p.table.find(tk.ref, time.Now()); b != nil && !b.invites(tk.claims) {
		if _, refused := x.invite(b, tk); refused != nil {
			return refused
		}
	}
	limit := time.Now().Add(glance)
	w := x.p.wake(ctx, tk.question(), tk.claims)
	if w == nil {
		return &answer{status: 503, retryAfter: 1, noStore: true, text: "Too many keys are being started. Try again in a moment.\n"}
	}
	if !x.glanceAt(ctx, w) {
		if cause := x.why(); cause != nil {
			return x.refusal(cause)
		}
	}
	if _, failed, _ := w.look(); failed != nil {
		return failed
	}
	if w.isOver() {
		a := x.admitWithin(ctx, tk, max(10*time.Millisecond, time.Until(limit)))
		if a == nil || a.status != 503 || x.why() != nil {
			return a
		}
		b, _ := x.p.table.find(tk.ref, time.Now())
		return waitingFor(progressOf(b))
	}
	return waitingFor(w.progress())
}

// glanceAt waits for a moment. It reports whether the waking is over.
func (x *exchange) glanceAt(ctx context.Context, w *waking) bool {
	ctx, done := x.slow(ctx)
	defer done()
	t := time.NewTimer(glance)
	defer t.Stop()
	select {
	case <-w.done:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

func waitingFor(g progress) *answer {
	return &answer{status: 503, retryAfter: 1, noStore: true, show: &g}
}
