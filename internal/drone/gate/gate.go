// Package gate makes connections to backends that listen in a network namespace
// of their own, for whoever stands on the same machine. No byte passes through
// it: the connection is made inside and handed over.
package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/table"
)

var (
	// ErrGone: there is no such backend, or its deadline has passed.
	ErrGone = errors.New("backend is gone")
	// ErrRefused: it runs, and nothing listens on that port.
	ErrRefused = fmt.Errorf("nothing of the backend listens on that port: %w", syscall.ECONNREFUSED)
)

// Deadlines is the table that says who a backend is.
type Deadlines interface {
	Find(plane.BackendID) (table.Entry, bool)
	Clock() leaseclock.Clock
}

// Gate serves one drone.
type Gate struct {
	Socket    string // path that it listens on
	Deadlines Deadlines
	Log       *slog.Logger
}

type ask struct {
	Backend plane.BackendID `json:"backend"`
	Port    int             `json:"port"`
}

// The first byte of an answer; with given comes the connection.
const (
	given   = '+'
	gone    = 'g'
	refused = 'r'
	broken  = 'e' // what follows is a sentence
)

const askPatience = 5 * time.Second

// Run serves until ctx is done.
func (g *Gate) Run(ctx context.Context) error {
	_ = os.Remove(g.Socket) // of an agent before this one: the data directory is ours
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: g.Socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen for connections to backends: %w", err)
	}
	l.SetUnlinkOnClose(false) // the next agent may listen already
	if err := os.Chmod(g.Socket, 0o600); err != nil {
		_ = l.Close()
		return fmt.Errorf("listen for connections to backends: %w", err)
	}
	var asked sync.WaitGroup
	defer asked.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			g.Log.Error("a connection to the gate can't be taken", "error", err)
			time.Sleep(10 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		asked.Go(func() { g.answer(c) })
	}
}

func (g *Gate) answer(c *net.UnixConn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(askPatience))
	var a ask
	if err := json.NewDecoder(c).Decode(&a); err != nil {
		return
	}
	f, err := g.Connect(a.Backend, a.Port)
	switch {
	case err == nil:
		defer f.Close()
		_, _, err = c.WriteMsgUnix([]byte{given}, unix.UnixRights(int(f.Fd())), nil)
		if err != nil {
			g.Log.Debug("a connection was not taken", "backend", a.Backend, "error", err)
		}
	case errors.Is(err, ErrGone):
		_, _ = c.Write([]byte{gone})
	case errors.Is(err, ErrRefused):
		_, _ = c.Write([]byte{refused})
	default:
		g.Log.Error("a backend can't be reached", "backend", a.Backend, "error", err)
		_, _ = c.Write(append([]byte{broken}, err.Error()...))
	}
}

// Connect makes a connection to a port of a backend. ErrGone, ErrRefused.
func (g *Gate) Connect(id plane.BackendID, port int) (*os.File, error) {
	e, ok := g.Deadlines.Find(id)
	if !ok || e.Pid == 0 || e.Dead || g.Deadlines.Clock().Now() >= e.Deadline {
		return nil, ErrGone
	}
	return connectInside(e.Pid, e.Start, port)
}

// Dial asks the gate of a for a connection. ErrGone, ErrRefused.
func Dial(ctx context.Context, a plane.GateAddress) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", a.Socket)
	if err != nil {
		return nil, fmt.Errorf("ask the drone's gate: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := json.NewEncoder(c).Encode(ask{a.Backend, a.Port}); err != nil {
		return nil, fmt.Errorf("ask the drone's gate: %w", err)
	}
	answer, space := make([]byte, 512), make([]byte, unix.CmsgSpace(4))
	n, m, _, _, err := c.(*net.UnixConn).ReadMsgUnix(answer, space)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("ask the drone's gate: no answer: %w", errors.Join(err, ctx.Err()))
	}
	switch answer[0] {
	case given:
		return received(space[:m])
	case gone:
		return nil, ErrGone
	case refused:
		return nil, ErrRefused
	}
	return nil, fmt.Errorf("the drone's gate can't reach the backend: %s", answer[1:n])
}

func received(control []byte) (net.Conn, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("the drone's gate handed over nothing: %w", errors.Join(err, os.ErrInvalid))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("the drone's gate handed over nothing: %w", errors.Join(err, os.ErrInvalid))
	}
	unix.CloseOnExec(fds[0])
	f := os.NewFile(uintptr(fds[0]), "backend")
	defer f.Close()
	return net.FileConn(f)
}

// DialAddress dials a route's address: host:port, or that of a gate.
func DialAddress(ctx context.Context, d *net.Dialer, address string) (net.Conn, error) {
	a, ok := plane.ParseGateAddress(address)
	if !ok {
		return d.DialContext(ctx, "tcp", address)
	}
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	return Dial(ctx, a)
}
