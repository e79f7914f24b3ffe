package controller

import (
	"context"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// attachGrace is how long a backend that was just handed out isn't taken for
// idle, whatever its limit: whoever got its URL must have time to come.
const attachGrace = 10 * time.Second

// useBook knows since when each ready backend is unused. It is begun anew with
// every controller: idle time counts from then.
type useBook struct {
	mu   sync.Mutex // guards the fields below
	byID map[plane.BackendID]*useEntry
}

type useEntry struct {
	id      plane.BackendID
	cluster plane.ClusterName
	drone   plane.NodeName
	limit   time.Duration // < 0 = none
	uses    []plane.Use   // what counts; nil = all
	since   time.Time     // of the last use, or ready
	grace   time.Time     // not before
	next    time.Time     // no question before
	why     string        // the last answer that kept it awake

	phase   idlePhase
	touched bool          // used since the question began
	settled chan struct{} // closed when the question is answered
}

type idlePhase int

const (
	inUse    idlePhase = iota
	quiesced           // proxies are being asked
	asked              // the drone is being asked: it may have begun to stop it
)

// ready begins an entry; a second time it changes nothing.
func (u *useBook) ready(b store.Backend, now time.Time) {
	limit := time.Duration(-1)
	if n := b.Spec.MaxIdle; n != nil {
		limit = max(time.Second, time.Duration(*n)*time.Second)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID[b.ID] == nil {
		u.byID[b.ID] = &useEntry{id: b.ID, cluster: b.Cluster, drone: b.Drone, limit: limit, uses: b.Spec.Idle, since: now}
	}
}

func (u *useBook) forget(id plane.BackendID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if e := u.byID[id]; e != nil {
		e.settleLocked()
		delete(u.byID, id)
	}
}

// moved notes that requests to these backends were opened or closed just now.
func (u *useBook) moved(ids []plane.BackendID, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		if e := u.byID[id]; e != nil && plane.UseRequests.Counts(e.uses) {
			e.since, e.touched = now, true
		}
	}
}

// commanded notes that a command has just begun or ended in a backend: whoever
// asked for it is connected, whatever else counts.
func (u *useBook) commanded(id plane.BackendID, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if e := u.byID[id]; e != nil {
		e.since, e.touched = now, true
	}
}

// held notes what a drone's telemetry says of holds and commands.
func (u *useBook) held(usages []wire.Usage, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, x := range usages {
		if e := u.byID[x.Backend]; e != nil && (x.Commands > 0 || len(x.Holds) > 0 && plane.UseHolds.Counts(e.uses)) {
			e.since = now
		}
	}
}

// claim is for handing a backend out. It returns nil if that may be done, and
// the backend then isn't taken for idle at once; or, while its drone is being
// asked whether it may stop, a channel that is closed when the answer is there.
func (u *useBook) claim(id plane.BackendID) <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.byID[id]
	if e == nil {
		return nil
	}
	if e.phase == asked {
		return e.settled
	}
	if e.limit >= 0 {
		e.grace, e.touched = time.Now().Add(attachGrace), true
	}
	return nil
}

// due are the backends whose time has come at now; their questions have begun.
func (u *useBook) due(now time.Time, most int) []*useEntry {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []*useEntry
	for _, e := range u.byID {
		if len(out) == most {
			break
		}
		if e.phase != inUse || e.limit < 0 || now.Before(e.dueLocked()) || now.Before(e.next) {
			continue
		}
		e.phase, e.touched, e.settled = quiesced, false, make(chan struct{})
		out = append(out, e)
	}
	return out
}

func (e *useEntry) dueLocked() time.Time {
	at := e.since.Add(e.limit)
	if e.grace.After(at) {
		return e.grace
	}
	return at
}

// toDrone moves a question on, unless the backend was used since it began.
func (u *useBook) toDrone(e *useEntry) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if e.touched || u.byID[e.id] != e {
		return false
	}
	e.phase = asked
	return true
}

// settle ends a question. used means that the idle time begins anew.
func (u *useBook) settle(e *useEntry, why string, used bool, next, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	e.settleLocked()
	e.why, e.next = why, next
	if used {
		e.since = now
	}
}

// awaitEnd waits, for a while, until the end of a backend that has begun to
// stop is recorded: till then the store calls it ready, and a connect would be
// handed it.
func (u *useBook) awaitEnd(ctx context.Context, e *useEntry) {
	u.mu.Lock()
	settled := e.settled
	u.mu.Unlock()
	if settled == nil {
		return
	}
	select {
	case <-settled:
	case <-time.After(endRecorded):
	case <-ctx.Done():
	}
}

const endRecorded = 5 * time.Second

func (e *useEntry) settleLocked() {
	if e.settled != nil {
		close(e.settled)
		e.settled = nil
	}
	e.phase = inUse
}

// idleView is what explain shows.
type idleView struct {
	known bool
	limit time.Duration // < 0 = none
	due   time.Time
	why   string
}

func (u *useBook) view(id plane.BackendID) idleView {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.byID[id]
	if e == nil {
		return idleView{}
	}
	return idleView{known: true, limit: e.limit, due: e.dueLocked(), why: e.why}
}
