package controller

import (
	"slices"
	"strings"
	"sync"

	"plane"
)

// droneSet is the drones that are connected to this controller.
type droneSet struct {
	mu     sync.RWMutex // guards the fields below
	byName map[plane.NodeName]*droneSession
	reaps  map[plane.NodeName]struct{} // drones with rows of ended epochs
}

func (d *droneSet) session(name plane.NodeName) *droneSession {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.byName[name]
}

// add makes s the drone's session and returns the one it replaces.
func (d *droneSet) add(s *droneSession) *droneSession {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.byName[s.name]
	d.byName[s.name] = s
	return old
}

func (d *droneSet) remove(s *droneSession) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byName[s.name] == s {
		delete(d.byName, s.name)
	}
}

func (d *droneSet) all() []*droneSession {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]*droneSession, 0, len(d.byName))
	for _, s := range d.byName {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *droneSession) int { return strings.Compare(string(a.name), string(b.name)) })
	return out
}

// candidates are the cluster's drones for the scheduler of a backend with policy p.
func (d *droneSet) candidates(cluster plane.ClusterName, p plane.Policy) []candidate {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []candidate
	for _, s := range d.byName {
		if s.cluster != cluster {
			continue
		}
		out = append(out, candidate{
			name:     s.name,
			pool:     s.pool,
			runtimes: s.runtimes,
			lacks:    s.lacks,
			commands: s.commands,
			draining: s.draining.Load(),
			ready:    s.takes(p),
		})
	}
	return out
}

// heard reports whether the drone of a remembered key renewed shortly before.
func (d *droneSet) heard(e *liveKey) bool { return e.drone != nil && e.drone.heard(e.policy) }

func (d *droneSet) heardFrom(name plane.NodeName, p plane.Policy) bool {
	s := d.session(name)
	return s != nil && s.heard(p)
}

func (d *droneSet) markReap(name plane.NodeName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reaps == nil {
		d.reaps = map[plane.NodeName]struct{}{}
	}
	d.reaps[name] = struct{}{}
}

func (d *droneSet) takeReaps() []plane.NodeName {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]plane.NodeName, 0, len(d.reaps))
	for name := range d.reaps {
		out = append(out, name)
	}
	d.reaps = nil
	return out
}
