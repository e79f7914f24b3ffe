// Package gate connects to backends that listen in a network namespace of
// their own, from inside it. Who the backend is comes from the table of
// deadlines: one that has ended, whose process number somebody else got, or
// whose deadline has passed is refused. The gate keeps nothing, and no byte
// passes through it: whoever asks on its socket is handed the connection.
package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"syscall"

	"plane"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
)

var (
	// ErrRefused: the backend runs, and nobody listens on that port of it (yet).
	ErrRefused = fmt.Errorf("nobody listens on this port of the backend: %w", syscall.ECONNREFUSED)
	// ErrGone: the backend has ended, or its deadline has passed, or it is of
	// another drone.
	ErrGone = errors.New("the backend has ended")
	// ErrShared: the backend has no network namespace of its own, so whoever
	// listens there may be somebody else.
	ErrShared = errors.New("the backend has no network of its own")
	// ErrClosed: no gate answers at the socket; the drone's agent doesn't run.
	ErrClosed = errors.New("the drone's gate doesn't answer")
)

// Deadlines is the table that says who a backend is.
type Deadlines interface {
	Find(plane.BackendID) (table.Entry, bool)
	Clock() leaseclock.Clock
}

// Gate connects to the backends of one drone. Safe for concurrent use.
type Gate struct {
	Socket    string // path that it listens on
	Deadlines Deadlines
	Log       *slog.Logger // nil = none

	prepare sync.Once
	turns   chan struct{} // bounds the threads that are inside at once
}

func (g *Gate) init() {
	g.prepare.Do(func() { g.turns = make(chan struct{}, 2*runtime.GOMAXPROCS(0)+2) })
}

func (g *Gate) warn(text string, args ...any) {
	if g.Log != nil {
		g.Log.Warn(text, args...)
	}
}

// Connect gives a connection to a port of a backend, without the socket.
// ErrRefused, ErrGone, ErrShared.
func (g *Gate) Connect(ctx context.Context, id plane.BackendID, port int) (net.Conn, error) {
	f, err := g.open(ctx, id, port)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("connect to the backend: %w", err)
	}
	return c, nil
}

// admit gives the process to enter, if the backend may be reached now.
func (g *Gate) admit(id plane.BackendID) (table.Entry, error) {
	e, ok := g.Deadlines.Find(id)
	switch {
	case !ok || e.Dead || g.Deadlines.Clock().Now() >= e.Deadline:
		return e, ErrGone
	case e.Pid == 0:
		return e, ErrRefused // it starts
	}
	return e, nil
}

// runs reports whether the process of an entry is still that one. What was
// opened of it before is then surely of it.
func runs(e table.Entry) bool {
	start, ok := means.StartOf(e.Pid)
	return ok && start == e.Start
}
