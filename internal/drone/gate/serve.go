package gate

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/wait"
)

const (
	maxAsk     = 1 << 10
	askTimeout = 5 * time.Second  // for the question to arrive and the answer to leave
	connectFor = 10 * time.Second // a backlog that is full is tried again by the kernel
)

// ask is what is said on the socket, one line, once a connection.
type ask struct {
	Backend plane.BackendID `json:"backend"`
	Port    int             `json:"port"`
}

// answer is one line; a connection comes with it if Error is "".
type answer struct {
	Error string `json:"error,omitempty"`
	Kind  string `json:"kind,omitempty"` // see kinds
}

var kinds = map[string]error{"refused": ErrRefused, "gone": ErrGone, "shared": ErrShared}

// Run answers on the socket until ctx is done. The path stays: who comes between
// two gates waits for the next.
func (g *Gate) Run(ctx context.Context) error {
	path := g.Socket
	// Left over from one before; the lock on the data directory says that
	// nobody listens there.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open the gate: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("open the gate: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return fmt.Errorf("open the gate: %w", err)
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer l.Close()
	for pause := time.Millisecond; ; {
		c, err := l.AcceptUnix()
		switch {
		case err == nil:
			pause = time.Millisecond
			serving.Go(func() { g.serve(ctx, c) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("gate: %w", err)
		default: // out of descriptors, mostly
			g.warn("a connection to the gate can't be taken", "error", err)
			if !wait.For(ctx, pause) {
				return nil
			}
			pause = min(2*pause, time.Second)
		}
	}
}

// serve answers one question.
func (g *Gate) serve(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(askTimeout))
	line, err := bufio.NewReaderSize(c, maxAsk).ReadSlice('\n')
	if err != nil {
		return
	}
	var q ask
	if err := json.Unmarshal(line, &q); err != nil || q.Port < 1 || q.Port > 65535 {
		reply(c, answer{Error: "the question isn't understood"}, nil)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, connectFor)
	defer cancel()
	f, err := g.open(ctx, q.Backend, q.Port)
	_ = c.SetDeadline(time.Now().Add(askTimeout))
	if err != nil {
		a := answer{Error: err.Error()}
		for kind, e := range kinds {
			if errors.Is(err, e) {
				a.Kind = kind
			}
		}
		if a.Kind == "" {
			g.warn("a backend can't be reached", "backend", q.Backend, "error", err)
		}
		reply(c, a, nil)
		return
	}
	defer f.Close()
	reply(c, answer{}, f)
}

// reply sends a and, with it, f; the peer may have gone.
func reply(c *net.UnixConn, a answer, f *os.File) {
	line, err := json.Marshal(a)
	if err != nil {
		return
	}
	var rights []byte
	if f != nil {
		raw, err := f.SyscallConn()
		if err != nil {
			return
		}
		_ = raw.Control(func(fd uintptr) { rights = unix.UnixRights(int(fd)) })
	}
	_, _, _ = c.WriteMsgUnix(append(line, '\n'), rights, nil)
}
