package line

import (
	"context"
	"sync"

	"plane"
)

// turns make those wait for each other who start one backend, or clear it away.
// The zero value is ready.
type turns struct {
	mu    sync.Mutex // guards taken
	taken map[plane.BackendID]chan struct{}
}

// Alone makes the caller the only one that starts or clears away the backend,
// until release is called.
func (t *turns) Alone(ctx context.Context, id plane.BackendID) (release func(), err error) {
	mine := make(chan struct{})
	for {
		t.mu.Lock()
		other := t.taken[id]
		if other == nil {
			if t.taken == nil {
				t.taken = map[plane.BackendID]chan struct{}{}
			}
			t.taken[id] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.taken, id)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
