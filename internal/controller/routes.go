package controller

import (
	"fmt"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/token"
	"plane/internal/wire"
)

// routeWithdrawal is how long the acknowledgement of a backend's end waits for
// proxies to withdraw its route.
const routeWithdrawal = 5 * time.Second

// routeOf is what proxies are told of a backend.
func (c *Controller) routeOf(b store.Backend, revoked map[string]int64) plane.Route {
	r := plane.Route{
		Backend:    b.ID,
		Generation: b.Generation,
		KeyHash:    b.Key.Hash(),
		Cluster:    b.Cluster,
		Subdomain:  b.Subdomain,
		Status:     b.State.Status,
		Revocation: b.Revocation,
		Revoked:    revoked,
		Revision:   b.Revision,
	}
	r.App, r.Access, r.Host = b.App, c.accessOf(b.Spec), b.Spec.Host
	switch b.State.Status {
	case plane.Scheduled, plane.Loading:
		r.Pull = c.starting.pull(b.ID)
	case plane.Waiting, plane.Ready: // of a waiting one to say where it is waited for
		r.Address, r.Ports = b.State.Address, b.State.Ports
	case plane.Terminated:
		r.End = c.routeEnd(b)
	}
	if b.Static {
		r.StaticHash = token.StaticHash(c.rings.of(b.Cluster).Static(b.ID))
	}
	return r
}

// routeEnd is what open pages are told of an end.
func (c *Controller) routeEnd(b store.Backend) *plane.RouteEnd {
	s := b.State
	end := &plane.RouteEnd{
		Message: endSentence(s), Early: failedToStart(s), Replaced: c.replaced.has(b.ID),
		Asked: s.Reason == plane.External || s.Reason == plane.Swept || s.Reason == plane.KeyExpired,
	}
	if s.Reason == plane.StartupTimeout {
		end.Message += " " + mustListen(b.Spec)
	}
	if end.Replaced {
		end.Message = "It ended because its app changed."
	}
	if c.cfg.Dev && s.Exit != nil {
		end.Output = s.Exit.Output
	}
	return end
}

// mustListen says what a program must do to become ready.
func mustListen(s plane.Spec) string {
	x, bad := plane.ParseExecutable(s.Executable)
	if bad != nil || x.Kind() != plane.KindImage {
		return "A program must listen on 127.0.0.1:$PORT."
	}
	port := x.Port
	if port == 0 {
		port = plane.DefaultImagePort
	}
	return fmt.Sprintf("An image must answer HTTP on its port %d; port says another one.", port)
}

// failedToStart reports whether a backend ended by itself before it was ready:
// nobody asked for it, and no machine refused it or was lost.
func failedToStart(s plane.State) bool {
	if s.LastStatus == "" || s.LastStatus.Order() >= plane.Ready.Order() || refused(s) {
		return false
	}
	return s.Reason == "" || s.Reason == plane.StartupTimeout || s.Reason == plane.InternalError
}

// readRoute reads a backend and its route.
func (c *Controller) readRoute(tx store.Tx, id plane.BackendID) (store.Backend, plane.Route, error) {
	b, err := tx.Backend(id)
	if err != nil {
		return b, plane.Route{}, err
	}
	var revoked map[string]int64
	if b.Revocation > 0 {
		if revoked, err = tx.Revoked(id); err != nil {
			return b, plane.Route{}, err
		}
	}
	return b, c.routeOf(b, revoked), nil
}

// push tells the cluster's connected proxies of a route, without waiting.
func (c *Controller) push(r plane.Route) {
	for _, s := range c.proxies.of(r.Cluster) {
		_ = s.conn.Send(wire.RouteUpdate{Route: r}) // whoever is cut off asks again when it is back
	}
}

// withdrawals are the routes whose withdrawal connected proxies haven't acknowledged yet.
type withdrawals struct {
	mu      sync.Mutex // guards the fields below
	waiting map[plane.BackendID]*withdrawal
}

type withdrawal struct {
	left map[*proxySession]struct{}
	done chan struct{} // closed when left is empty
}

// begin is to be called before the proxies are told. Its channel is closed when
// all of them have acknowledged or gone.
func (w *withdrawals) begin(id plane.BackendID, proxies []*proxySession) <-chan struct{} {
	x := &withdrawal{left: map[*proxySession]struct{}{}, done: make(chan struct{})}
	for _, s := range proxies {
		x.left[s] = struct{}{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(x.left) == 0 {
		close(x.done)
		return x.done
	}
	w.waiting[id] = x
	return x.done
}

// pending is the channel of a withdrawal that has begun and isn't complete.
func (w *withdrawals) pending(id plane.BackendID) (<-chan struct{}, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x, ok := w.waiting[id]
	if !ok {
		return nil, false
	}
	return x.done, true
}

func (w *withdrawals) gone(id plane.BackendID, s *proxySession) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.strikeLocked(id, s)
}

// left strikes a proxy that disconnected from all of them.
func (w *withdrawals) left(s *proxySession) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.waiting {
		w.strikeLocked(id, s)
	}
}

func (w *withdrawals) strikeLocked(id plane.BackendID, s *proxySession) {
	x := w.waiting[id]
	if x == nil {
		return
	}
	delete(x.left, s)
	if len(x.left) == 0 {
		delete(w.waiting, id)
		close(x.done)
	}
}

// forget gives up on those that didn't answer in time.
func (w *withdrawals) forget(id plane.BackendID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.waiting[id]; x != nil {
		delete(w.waiting, id)
		close(x.done)
	}
}
