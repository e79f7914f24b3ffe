package drone

import (
	"sync"

	"plane"
	"plane/internal/runtime"
)

// note is something that a runner is told.
type note struct {
	event   plane.Event
	process runtime.Process // with EventStarted, and where watching goes on with another handle
	lost    bool            // with EventExited: nothing of it was found
	ask     func(yes bool, why string)
}

// mailbox holds notes in order. put never blocks.
type mailbox struct {
	ready chan struct{} // capacity 1

	mu    sync.Mutex // guards the field below
	notes []note
}

func (m *mailbox) put(n note) {
	m.mu.Lock()
	m.notes = append(m.notes, n)
	m.mu.Unlock()
	signal(m.ready)
}

func (m *mailbox) take() []note {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.notes
	m.notes = nil
	return out
}
