package drone

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/drone/leaseclock"
	"plane/internal/wire"
)

const maxHolds = 100

// holds keep one backend awake. They survive a restart of the agent.
type holds struct {
	id      plane.BackendID
	journal *journal.Journal
	clock   leaseclock.Clock

	mu     sync.Mutex // guards the fields below
	held   journal.Holds
	closed bool // it is ending: no more are taken
}

// put begins or replaces a hold.
func (h *holds) put(name, reason string, d time.Duration) *plane.Error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return &plane.Error{Kind: plane.Unavailable, Status: 409, Message: "The backend is being ended."}
	}
	h.expireLocked()
	if _, there := h.held[name]; !there && len(h.held) >= maxHolds {
		return &plane.Error{Kind: plane.LimitExceeded, Status: 429, Message: fmt.Sprintf("A backend may have %d holds.", maxHolds)}
	}
	if h.held == nil {
		h.held = journal.Holds{}
	}
	h.held[name] = journal.Hold{Reason: reason, Until: h.clock.Now().Add(d)}
	if err := h.recordLocked(); err != nil {
		return plane.NewError(plane.Other, "The hold could not be recorded.")
	}
	return nil
}

// drop ends a hold; one that isn't there is no error.
func (h *holds) drop(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, there := h.held[name]; !there {
		return nil
	}
	delete(h.held, name)
	return h.recordLocked()
}

func (h *holds) recordLocked() error {
	return h.journal.Put(journal.KindHolds, string(h.id), h.held)
}

func (h *holds) expireLocked() {
	now := h.clock.Now()
	maps.DeleteFunc(h.held, func(_ string, x journal.Hold) bool { return now >= x.Until })
}

// list gives the holds by name.
func (h *holds) list() []wire.Hold {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireLocked()
	now := h.clock.Now()
	var out []wire.Hold
	for _, name := range slices.Sorted(maps.Keys(h.held)) {
		x := h.held[name]
		left := (x.Until.Sub(now) + time.Second - 1) / time.Second
		out = append(out, wire.Hold{Name: name, Reason: x.Reason, SecondsTo: int64(left)})
	}
	return out
}

// closeUnlessHeld takes no more holds from now on, unless there is one: then
// it says which.
func (h *holds) closeUnlessHeld() (why string, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireLocked()
	if names := slices.Sorted(maps.Keys(h.held)); len(names) > 0 {
		why = "hold " + names[0]
		if reason := h.held[names[0]].Reason; reason != "" {
			why += ": " + reason
		}
		return why, true
	}
	h.closed = true
	return "", false
}

func (h *holds) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}
