package controller

import (
	"sync"

	"plane"
)

// startingRoutes are the routes of backends that were started here and aren't
// ready yet. With them proxies hear that a backend is ready as soon as its
// drone says so, while that is being recorded: the backend is the key's by a
// commit that came before its start, so nothing rests on this one.
type startingRoutes struct {
	mu   sync.Mutex // guards byID
	byID map[plane.BackendID]plane.Route
}

func (s *startingRoutes) put(r plane.Route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[r.Backend] = r
}

// take gives the route, and whether there was one, and forgets it.
func (s *startingRoutes) take(id plane.BackendID) (plane.Route, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.byID[id]
	delete(s.byID, id)
	return r, ok
}

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
