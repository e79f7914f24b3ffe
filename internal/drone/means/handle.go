package means

import (
	"context"
	"os"
	"time"
)

// Handle is a hold on a process: what it refers to is never another process
// that got the same number. Fd is -1 where the system has no pidfds.
type Handle struct {
	id Identity
	fd int
	f  *os.File
}

// NewHandle takes over fd, a pidfd of id's first process, or -1.
func NewHandle(id Identity, fd int) *Handle {
	h := &Handle{id: id, fd: fd}
	if fd >= 0 {
		h.f = pollable(fd)
	}
	return h
}

// Fd is the pidfd, for handing on; it stays the Handle's.
func (h *Handle) Fd() int { return h.fd }

// Close lets go.
func (h *Handle) Close() {
	if h.f != nil {
		_ = h.f.Close()
	}
}

// pollEvery is how often a process without pidfd is looked at.
const pollEvery = 25 * time.Millisecond

// Ended waits until the first process has ended, reaped or not, or ctx is done.
func (m *Means) Ended(ctx context.Context, h *Handle) error {
	if h.f != nil {
		if done, err := waitReadable(ctx, h.f); done {
			return err
		}
	}
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for m.Alive(h.id) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}
