package controller

import (
	"strings"
	"sync"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// startingRoutes are the routes of backends that aren't ready yet. With them
// proxies hear that a backend is ready as soon as its drone says so, while that
// is being recorded: the backend is the key's by a commit that came before its
// start, so nothing rests on this one. They also hold how far its preparation
// has come, of which nothing is recorded.
type startingRoutes struct {
	mu   sync.Mutex // guards byID
	byID map[plane.BackendID]*startingRoute
}

type startingRoute struct {
	route plane.Route // Pull is the last progress, until its preparation is over
	drone plane.NodeName
}

func (s *startingRoutes) put(r plane.Route, drone plane.NodeName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[r.Backend] = &startingRoute{route: r, drone: drone}
}

// advance notes a recorded status before ready. It reports whether a
// preparation that progress was told of is over.
func (s *startingRoutes) advance(r plane.Route) (over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[r.Backend]
	if e == nil {
		return false
	}
	r.Pull = e.route.Pull
	if !prepares(r.Status) {
		over, r.Pull = r.Pull != nil, nil
	}
	e.route = r
	return over
}

// progress notes how far a backend has come. ok is false if it isn't one that
// this drone prepares.
func (s *startingRoutes) progress(id plane.BackendID, drone plane.NodeName, p plane.Pull) (r plane.Route, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil || e.drone != drone || !prepares(e.route.Status) {
		return plane.Route{}, false
	}
	e.route.Pull = &p
	return e.route, true
}

// pull is the last progress of a backend that is being prepared, or nil.
func (s *startingRoutes) pull(id plane.BackendID) *plane.Pull {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[id]; e != nil {
		return e.route.Pull
	}
	return nil
}

// take gives the route, and whether there was one, and forgets it.
func (s *startingRoutes) take(id plane.BackendID) (plane.Route, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil {
		return plane.Route{}, false
	}
	delete(s.byID, id)
	e.route.Pull = nil
	return e.route, true
}

// prepares reports whether a backend with that status is being prepared.
func prepares(s plane.Status) bool { return s.Order() < plane.Starting.Order() }

// foretell tells proxies of a backend that says it is ready.
func (c *Controller) foretell(id plane.BackendID, g plane.Generation, state plane.State) {
	if state.Status.Order() < plane.Ready.Order() {
		return
	}
	r, ok := c.starting.take(id)
	if !ok || state.Status != plane.Ready || r.Generation != g {
		return
	}
	r.Status, r.Address, r.Ports = plane.Ready, state.Address, state.Ports
	c.push(r)
}

const progressText = 200 // bytes

// progressed tells proxies and followers how far a backend's preparation has
// come. It is kept in memory alone, the last of each.
func (c *Controller) progressed(s *droneSession, m wire.Progress) {
	text := m.Text
	if len(text) > progressText {
		text = text[:progressText]
	}
	p := plane.Pull{Text: strings.ToValidUTF8(text, ""), Done: max(0, m.Done), Total: max(0, m.Total)}
	r, ok := c.starting.progress(m.Backend, s.name, p)
	if !ok {
		return
	}
	c.push(r)
	c.hub.notify(topicProgress(m.Backend))
}

// recallStarting remembers a backend that began before this controller did.
func (c *Controller) recallStarting(tx store.Tx, id plane.BackendID) error {
	b, r, err := c.readRoute(tx, id)
	if isNotFound(err) {
		return nil
	}
	if err == nil && b.State.Status.Order() < plane.Ready.Order() {
		c.starting.put(r, b.Drone)
	}
	return err
}
