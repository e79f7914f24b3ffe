package means

import (
	"context"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
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

// Told reports whether the system tells of the end of the process, so that
// waiting for it costs nothing.
func (h *Handle) Told() bool { return h.f != nil }

// Close lets go.
func (h *Handle) Close() {
	if h.f != nil {
		_ = h.f.Close()
	}
}

// How often a process without pidfd is looked at. The system tells of the end
// of our children.
const (
	pollEvery = 250 * time.Millisecond
	pollChild = 5 * time.Second
)

// Ended waits until the first process has ended, reaped or not, or ctx is done.
func (m *Means) Ended(ctx context.Context, h *Handle) error {
	if h.f != nil {
		if done, err := waitReadable(ctx, h.f); done {
			return err
		}
	}
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	defer signal.Stop(child)
	every := pollEvery
	if p, ok := readProc(h.id.Pid); ok && p.Parent == os.Getpid() {
		every = pollChild
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for m.Alive(h.id) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-child:
		case <-t.C:
		}
	}
	return nil
}

// Duplicate gives a descriptor of the same process for sending it elsewhere, -1
// if there is none.
func (h *Handle) Duplicate() int {
	if h.f == nil {
		return -1
	}
	return Duplicate(h.f)
}

// Duplicate gives another descriptor of f, -1 if f is closed. It is safe
// beside Close, unlike the number that f.Fd shows.
func Duplicate(f *os.File) int {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1
	}
	dup := -1
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			dup = n
		}
	})
	return dup
}
