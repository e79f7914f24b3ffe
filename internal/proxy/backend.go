package proxy

import (
	"errors"
	"maps"
	"sync"
	"time"

	"plane"
	"plane/internal/wire"
)

// Why exchanges are aborted.
var (
	errEnded      = errors.New("the backend has ended")
	errSuperseded = errors.New("a newer generation of the key is known")
	errRevoked    = errors.New("the token was revoked")
	errClientGone = errors.New("the client went away")
	errBadBody    = errors.New("the request's body is malformed")
	errLeaving    = errors.New("the proxy is leaving")
)

// verdict is what an exchange that wants to use a backend is told.
type verdict int

const (
	admitted  verdict = iota
	holdOn            // not yet: wait for a change
	isGone            // ended or ending, superseded or revoked
	forgotten         // ask the table again
	noPort            // the backend has no further port of that name
	uninvited         // who comes by a key URL must be vouched for
)

// backend is what the proxy knows of one backend, and what it has open to it.
type backend struct {
	id    plane.BackendID
	uses  *uses
	names []ref // key URLs that led here; guarded by the table

	mu        sync.Mutex // guards the fields below
	route     *plane.Route
	seq       int64           // of the news that route came with
	gone      error           // why it takes nothing any more, for ever
	last      *plane.RouteEnd // how it ended, if that was said
	forgotten bool            // the table no longer holds this one
	quiesced  bool            // the controller is about to stop it for being idle
	changed   chan struct{}   // closed at the next change; nil while nobody waits
	waiters   int
	vouched   map[visitor]time.Time // whom a controller let in with the cookie of an earlier backend → until
	plain     int
	upgraded  int
	opened    int64 // ever, from base on
	base      int64
	noted     bool
	first     *exchange // of those open, linked
	idle      []*upstream
}

// admit counts x in if the backend may be used now by these claims (nil: nobody's).
func (b *backend) admit(x *exchange, claims *plane.Claims) verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.gone != nil:
		return isGone
	case b.forgotten:
		return forgotten
	case b.route == nil:
		return holdOn
	case b.route.Status.Ending():
		return isGone
	case x.ticket.ref.kind == refKey && !b.invitedLocked(claims):
		return uninvited
	case claims != nil && !allows(b.route, claims):
		return isGone
	case b.route.Status != plane.Ready || b.route.Address == "" || b.quiesced:
		return holdOn
	}
	address := b.route.Address
	if claims != nil && claims.Port != "" {
		if address = b.route.Ports[claims.Port]; address == "" {
			return noPort
		}
	}
	x.backend, x.claims, x.address, x.route = b, claims, address, b.route
	x.prev, x.next = nil, b.first
	if b.first != nil {
		b.first.prev = x
	}
	b.first = x
	b.plain++
	b.opened++
	b.noteLocked()
	return admitted
}

// release counts x out. Afterwards nothing aborts it any more.
func (b *backend) release(x *exchange) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if x.prev != nil {
		x.prev.next = x.next
	} else {
		b.first = x.next
	}
	if x.next != nil {
		x.next.prev = x.prev
	}
	x.prev, x.next, x.backend = nil, nil, nil
	if x.upgraded {
		b.upgraded--
	} else {
		b.plain--
	}
	b.noteLocked()
}

// upgrade moves x from the plain to the upgraded.
func (b *backend) upgrade(x *exchange) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x.upgraded = true
	b.plain--
	b.upgraded++
	b.noteLocked()
}

func (b *backend) noteLocked() {
	if !b.noted && !b.forgotten && b.gone == nil {
		b.noted = true
		b.uses.note(b)
	}
}

func (b *backend) useLocked() wire.Use {
	return wire.Use{Backend: b.id, Plain: b.plain, Upgraded: b.upgraded, Opened: b.opened}
}

// report gives the use of a backend that is still held.
func (b *backend) report() (wire.Use, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noted = false
	return b.useLocked(), b.gone == nil && !b.forgotten
}

// quiesce holds back new requests unless something is open or has been opened
// since the report that the controller has. It reports whether it is idle.
func (b *backend) quiesce(opened int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.plain+b.upgraded > 0 || b.waiters > 0 && b.route != nil || b.opened > max(opened, b.base) {
		b.noteLocked()
		return false
	}
	b.quiesced = true
	return true
}

// resume ends quiesce.
func (b *backend) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.quiesced = false
	b.wakeLocked()
}

// wait gives a channel that closes at the next change. done must be called once.
func (b *backend) wait() (changed <-chan struct{}, done func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	b.waiters++
	return b.changed, func() {
		b.mu.Lock()
		b.waiters--
		b.mu.Unlock()
	}
}

func (b *backend) wakeLocked() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// look gives the route as it is now, and why the backend is gone.
func (b *backend) look() (*plane.Route, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.route, b.gone
}

// known reports whether there has been news of the route.
func (b *backend) known() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.route != nil
}

// ending reports whether the backend takes no new request any more.
func (b *backend) ending() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone != nil || b.route != nil && b.route.Status.Ending()
}

// take replaces the route unless it is older, and aborts what it forbids.
func (b *backend) take(r *plane.Route, seq int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone != nil || b.route != nil && r.Revision < b.route.Revision {
		return
	}
	if b.route != nil && r.Status.Order() < b.route.Status.Order() {
		// News of a state that was left since: what it says beside that counts.
		later := *r
		later.Status, later.Address, later.Ports = b.route.Status, b.route.Address, b.route.Ports
		r = &later
	}
	if b.route != nil && (b.route.Address != r.Address || !maps.Equal(b.route.Ports, r.Ports)) {
		b.dropIdleLocked()
	}
	b.route, b.seq = r, seq
	if r.Status.Ending() {
		b.dropIdleLocked()
		b.quiesced = false
	}
	for x := b.first; x != nil; x = x.next {
		if x.claims != nil && !allows(r, x.claims) {
			x.abort(errRevoked)
		}
	}
	b.wakeLocked()
}

// end withdraws the backend: when it returns, nothing more is sent to it. last
// says how it ended, if that is known.
func (b *backend) end(why error, last *plane.RouteEnd) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone != nil {
		return
	}
	b.gone, b.last = why, last
	for x := b.first; x != nil; x = x.next {
		x.abort(why)
	}
	b.dropIdleLocked()
	b.wakeLocked()
}

// forget lets go of a backend that nobody uses or waits for. It may be met again.
func (b *backend) forget() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.plain+b.upgraded+b.waiters > 0 {
		return false
	}
	b.forgotten = true
	b.wakeLocked()
	b.uses.forget(b.opened)
	b.dropIdleLocked()
	return true
}

// unrevise lets any revision replace the route: the store that counted them is
// another one now.
func (b *backend) unrevise() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.route != nil {
		r := *b.route
		r.Revision = 0
		b.route = &r
	}
}
