package controller

import (
	"sync"
	"time"

	"plane"
	"plane/internal/wire"
)

// usage is what one drone's backends use, by its telemetry.
type usage struct {
	mu     sync.Mutex // guards the fields below
	byID   map[plane.BackendID]wire.Usage
	warned map[plane.BackendID]string
}

// spent is what was used since the reports before.
type spent struct{ cpuMS, in, out int64 }

func (s *spent) add(now, before wire.Usage) {
	s.cpuMS += max(0, now.CPUMS-before.CPUMS)
	s.in += max(0, now.In-before.In)
	s.out += max(0, now.Out-before.Out)
}

// reportsWithin is how soon after it connects a drone has reported of all that
// it runs.
const reportsWithin = 30 * time.Second

// take notes usages of a drone that is connected for that long; it returns those
// with a warning that is new, and what was used since the last ones. Of what
// ran before the drone connected that isn't known: its first report is only
// where its count begins.
func (u *usage) take(all []wire.Usage, connected time.Duration) (warn []wire.Usage, sum spent) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID == nil {
		u.byID, u.warned = map[plane.BackendID]wire.Usage{}, map[plane.BackendID]string{}
	}
	for _, x := range all {
		if before, ok := u.byID[x.Backend]; ok || connected > reportsWithin {
			sum.add(x, before)
		}
		u.byID[x.Backend] = x
		if x.Warning != "" && u.warned[x.Backend] != x.Warning {
			u.warned[x.Backend] = x.Warning
			warn = append(warn, x)
		}
	}
	return warn, sum
}

// addTo adds up what the drone's backends use.
func (u *usage) addTo(sum *wire.Usage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, x := range u.byID {
		sum.Memory += x.Memory
		sum.Cache += x.Cache
		sum.Pids += x.Pids
		sum.Disk += x.Disk
		sum.Data += x.Data
	}
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
