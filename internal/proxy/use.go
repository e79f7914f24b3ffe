package proxy

import (
	"sync"
	"sync/atomic"

	"plane/internal/wire"
)

// uses collects the backends whose use has changed since it was last reported.
type uses struct {
	wake    chan struct{} // capacity 1
	highest atomic.Int64  // no Opened of a forgotten backend is above

	mu      sync.Mutex // guards the field below
	changed []*backend
}

// note is called by a backend whose use changed and that isn't noted yet.
func (u *uses) note(b *backend) {
	u.mu.Lock()
	u.changed = append(u.changed, b)
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// take gives the use of all backends noted.
func (u *uses) take() []wire.Use {
	u.mu.Lock()
	changed := u.changed
	u.changed = nil
	u.mu.Unlock()
	out := make([]wire.Use, 0, len(changed))
	for _, b := range changed {
		if use, live := b.report(); live {
			out = append(out, use)
		}
	}
	return out
}

// forget keeps the counters of a backend that is forgotten from running
// backwards if it is met again: a controller compares them with those it has.
func (u *uses) forget(opened int64) {
	for {
		h := u.highest.Load()
		if opened <= h || u.highest.CompareAndSwap(h, opened) {
			return
		}
	}
}
