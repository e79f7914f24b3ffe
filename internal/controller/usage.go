package controller

import (
	"sync"

	"plane"
	"plane/internal/wire"
)

// usage is what one drone's backends use, by its telemetry.
type usage struct {
	mu     sync.Mutex // guards the fields below
	byID   map[plane.BackendID]wire.Usage
	warned map[plane.BackendID]string
}

// take notes usages and returns those with a warning that is new.
func (u *usage) take(all []wire.Usage) []wire.Usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID == nil {
		u.byID, u.warned = map[plane.BackendID]wire.Usage{}, map[plane.BackendID]string{}
	}
	var warn []wire.Usage
	for _, x := range all {
		u.byID[x.Backend] = x
		if x.Warning != "" && u.warned[x.Backend] != x.Warning {
			u.warned[x.Backend] = x.Warning
			warn = append(warn, x)
		}
	}
	return warn
}

func (u *usage) of(id plane.BackendID) wire.Usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.byID[id]
}

// data is the size of a backend's data directory, if it was told.
func (u *usage) data(id plane.BackendID) (int64, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	x, ok := u.byID[id]
	return x.Data, ok && x.Data > 0
}

// drop forgets a backend that has ended.
func (u *usage) drop(id plane.BackendID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byID, id)
	delete(u.warned, id)
}

// keep forgets all but these.
func (u *usage) keep(live map[plane.BackendID]bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id := range u.byID {
		if !live[id] {
			delete(u.byID, id)
			delete(u.warned, id)
		}
	}
}
