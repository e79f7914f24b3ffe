package drone

import (
	"sync"

	"plane"
	"plane/internal/drone/leaseclock"
	"plane/internal/wire"
)

// keeper holds the drone's lease and brings its deadlines to the table. It
// does no disk I/O.
type keeper struct {
	clock leaseclock.Clock
	table Deadlines

	mu      sync.Mutex // guards the fields below
	holding plane.Holding
}

func (k *keeper) now() plane.Instant { return k.clock.Now() }

func (k *keeper) get() plane.Holding {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.holding
}

func (k *keeper) set(h plane.Holding) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.holding = h
}

// attempt numbers a renewal, which must be sent right after: the lease will
// count from now.
func (k *keeper) attempt() wire.Renew {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, number := k.holding.Send(k.now())
	k.holding = h
	return wire.Renew{Number: number, Epochs: h.Epochs, Store: h.Store}
}

// renewed notes the answer to a renewal and extends the deadlines. It reports
// whether the lease moved.
func (k *keeper) renewed(number int64) (plane.Holding, bool) {
	k.mu.Lock()
	h, moved := k.holding.Renewed(number)
	k.holding = h
	k.mu.Unlock()
	if moved {
		for _, p := range plane.Policies {
			k.table.Extend(p, h.Epochs.Of(p), h.Deadline(p))
		}
	}
	return h, moved
}

// deadline of backends of that policy and epoch; 0 for an epoch that ended.
func (k *keeper) deadline(p plane.Policy, epoch int64) plane.Instant {
	h := k.get()
	if h.Epochs.Of(p) != epoch {
		return 0
	}
	return h.Deadline(p)
}

// touch extends a backend that was started while a renewal was answered.
func (k *keeper) touch(p plane.Policy, epoch int64) {
	if until := k.deadline(p, epoch); until != 0 {
		k.table.Extend(p, epoch, until)
	}
}

func (k *keeper) accepts(g plane.Grant) plane.Refusal {
	return k.get().Accepts(g, k.now())
}

// raise takes over epochs that are newer.
func (k *keeper) raise(epochs plane.Epochs) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.holding, _ = k.holding.Raised(epochs)
}
