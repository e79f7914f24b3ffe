package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"plane"
)

const (
	maxStreams = 1024             // of /_plane/status, at once
	streamLife = 10 * time.Minute // after which a page asks for another one
	heartbeat  = 15 * time.Second
)

// status is a stream of how a key's backend fares, for the pages that show it.
// It starts nothing, and is no use of the backend.
func (x *exchange) status(ctx context.Context, t target) bool {
	tk, refused := x.keyTicket(ctx, t)
	if refused != nil {
		return x.say(*refused)
	}
	if x.p.streams.Add(1) > maxStreams {
		x.p.streams.Add(-1)
		return x.say(answer{status: 503, retryAfter: 5, noStore: true, text: "Too many pages follow a status.\n"})
	}
	defer x.p.streams.Add(-1)
	w := &watch{x: x, what: tk.question(), claims: tk.claims, lively: time.Now()}
	// ctx outlives the client, slow's doesn't.
	ctx, done := x.slow(ctx)
	refused = w.admit(ctx)
	if refused == nil && x.req.method != http.MethodHead {
		defer done()
		w.stream(ctx)
		return false
	}
	done()
	if refused == nil {
		refused = &answer{status: 200, fields: eventFields}
	}
	return x.say(*refused)
}

var eventFields = []field{{"content-type", "text/event-stream"}, {"cache-control", "no-store"}, {"x-accel-buffering", "no"}}

// watch is one stream on its way.
type watch struct {
	x      *exchange
	what   question
	claims *plane.Claims
	held   *backend  // last seen
	lively time.Time // when it was live, or this began
	failed *answer   // what the controller said, while nothing runs
}

// admit refuses whoever must not know how a key fares.
func (w *watch) admit(ctx context.Context) *answer {
	b, _ := w.x.p.table.find(w.what.ref, time.Now())
	if b != nil && b.known() && b.welcomes(w.claims) {
		w.held = b
		return nil
	}
	if k := w.x.p.wakings.find(w.what); k != nil {
		if _, failed, _ := k.look(); failed != nil && failed.status == 401 {
			return failed
		}
		return nil
	}
	return w.ask(ctx)
}

// ask asks a controller what runs.
func (w *watch) ask(ctx context.Context) *answer {
	what := w.what
	what.noStart = true
	b, werr, err := w.x.p.ask(ctx, what, w.x.p.cfg.Timeouts.Answer)
	switch {
	case errors.Is(err, errNoAnswer), err != nil:
		return &later
	case werr != nil && werr.Kind == plane.Unauthorized:
		return &unauthorized
	case werr != nil && werr.Kind != plane.KeyUnheldNoSpawnConfig:
		a := w.x.p.keyRefusal(werr)
		w.held, w.failed = nil, &a
		return nil
	}
	if b != nil && !b.welcomes(w.claims) {
		return &unauthorized
	}
	w.failed = nil
	if b != nil {
		w.held = b
	}
	return nil
}

// stream sends what changes until the client, the proxy or the stream's time ends.
func (w *watch) stream(ctx context.Context) {
	x := w.x
	r := &response{status: 200, reason: reasonOf(200), length: chunked, declared: chunked, fields: appendOwn(slices.Clip(eventFields), x.p.server, "", false)}
	if !x.start() || x.begin(r) != nil || x.client.write([]byte("retry: 1000\n\n")) != nil {
		return
	}
	life := time.NewTimer(streamLife)
	defer life.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	var told progress
	for first := true; ; first = false {
		bell, stop := x.p.bells.listen(w.what.ref)
		g, changes := w.look()
		g.Changed = w.outdated(g)
		if first || g != told {
			told = g
			if !w.send(g) {
				stop()
				return
			}
		}
		waiting, failing := changes.waking, changes.backend
		select {
		case <-waiting:
		case <-failing:
		case <-bell:
		case <-beat.C:
			if x.client.write([]byte(": \n\n")) != nil {
				stop()
				return
			}
			x.client.flush()
			if w.held == nil && x.p.wakings.find(w.what) == nil {
				_ = w.ask(ctx) // somebody may have started it elsewhere
			}
		case <-life.C:
			stop()
			_ = x.client.end(nil)
			return
		case <-x.p.leave:
			stop()
			_ = x.client.end(nil)
			return
		case <-ctx.Done():
			stop()
			return
		}
		stop()
	}
}

func (w *watch) send(g progress) bool {
	text, err := json.Marshal(g)
	if err != nil {
		panic("proxy: a progress that is no JSON: " + err.Error())
	}
	if w.x.client.write([]byte("event: status\ndata: "+string(text)+"\n\n")) != nil {
		return false
	}
	w.x.client.flush()
	return true
}

// changes close when there is something new; nil ones never do.
type changes struct{ waking, backend <-chan struct{} }

// look gives the state of things: a start under way, else what runs, else how
// the last start failed, else how what ran has ended.
func (w *watch) look() (progress, changes) {
	p := w.x.p
	k := p.wakings.find(w.what)
	b, _ := p.table.find(w.what.ref, time.Now())
	if b != nil && !b.welcomes(w.claims) {
		b = nil
	}
	var c changes
	if k != nil {
		at, failed, changed := k.look()
		c.waking = changed
		if b == nil || !k.isOver() {
			b = at
		}
		if failed != nil && (b == nil || b == at) {
			return k.progress(), c
		}
	}
	if b == nil && w.held != nil {
		if !w.held.welcomes(w.claims) || w.held.forgottenOnly() { // revoked, or to be asked for again
			w.held = nil
		}
		b = w.held
	}
	if b == nil {
		if w.failed != nil {
			return w.failed.progress(), c
		}
		if k != nil && !k.isOver() {
			return progressOf(nil), c
		}
		return progress{Heading: "Asleep", Message: "Nothing runs for this key. The next request starts it.", RetryMS: 1000}, c
	}
	w.held = b
	c.backend = b.changes()
	return progressOf(b), c
}

// forgottenOnly reports whether the backend was let go of without having ended.
func (b *backend) forgottenOnly() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.forgotten && b.gone == nil
}

// changes gives a channel that closes at the next change. It is no wait: the
// backend may be stopped for being idle, or forgotten, meanwhile.
func (b *backend) changes() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}
