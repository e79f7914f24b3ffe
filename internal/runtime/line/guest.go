package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"plane/internal/drone/means"
	"plane/internal/runtime"
)

// ErrEnded: the backend has ended, and so has a command that ran in it.
var ErrEnded = errors.New("the backend ended, which ended the command")

// Guest is a command that runs beside a backend's own program, as a child of
// this process. It is over when its first process is: what that leaves running
// is ended.
type Guest struct {
	Backend *Backend
	Guest   *means.Guest
	Command runtime.Command
	Cmd     *exec.Cmd // without input and output
	// Start is how Cmd is started; nil = as usual.
	Start func() error
	// Terminal waits for the terminal that Cmd makes itself; nil = it gets one of
	// ours. The end of the command ends it, with nil.
	Terminal func(ended <-chan struct{}) *os.File
}

// Run runs it until its end, the backend's, or that of ctx. See runtime.Execer.
// What it writes to must fail when ctx ends.
func (g *Guest) Run(ctx context.Context) (int, error) {
	m, id := g.Backend.Look()
	h := m.OpenHandle(id)
	if id.Pid == 0 || h == nil {
		return -1, runtime.ErrGone
	}
	defer h.Close()
	s, err := g.streams()
	if err != nil {
		return -1, fmt.Errorf("exec: %w", err)
	}
	defer s.close()
	if err := g.start(s); err != nil {
		g.Guest.End()
		return -1, err
	}
	while, over := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer over()
	// Only now, when it runs: of a backend that ended before, nobody may have
	// waited for the command.
	all.Go(func() {
		if m.Ended(while, h) == nil || ctx.Err() != nil {
			g.Guest.End()
		}
	})
	ended := make(chan struct{})
	var how error
	all.Go(func() {
		defer close(ended)
		how = g.Cmd.Wait()
	})
	if g.Terminal != nil && g.Command.TTY {
		s.adopt(g.Terminal(ended))
	}
	s.converse(ended)
	g.Guest.End()
	s.finish()
	exit, err := g.exit(how)
	if ctx.Err() != nil {
		return -1, context.Cause(ctx)
	}
	if exit == killed {
		brief, cancel := context.WithTimeout(ctx, endsTogether)
		defer cancel()
		if m.Ended(brief, h) == nil {
			return -1, ErrEnded
		}
	}
	return exit, err
}

const (
	killed       = 128 + int(syscall.SIGKILL)
	endsTogether = 200 * time.Millisecond // what one kill reaches
)

func (g *Guest) start(s *streams) error {
	if g.Cmd.SysProcAttr == nil {
		g.Cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	g.Cmd.SysProcAttr.Setsid = true
	g.Cmd.SysProcAttr.Setctty = s.terminal != nil
	placed, err := g.Guest.Place(g.Cmd.SysProcAttr)
	if err == nil {
		start := g.Start
		if start == nil {
			start = g.Cmd.Start
		}
		err = start()
		placed()
	}
	switch {
	case means.Vanished(err):
		if m, id := g.Backend.Look(); !m.Alive(id) {
			return runtime.ErrGone
		}
		return fmt.Errorf("exec: %w", err)
	case err != nil:
		return err
	}
	g.Guest.Started(g.Cmd.Process.Pid)
	s.started()
	return nil
}

// exit is the code of the command, by the custom of shells where a signal ended
// it.
func (g *Guest) exit(err error) (int, error) {
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return -1, fmt.Errorf("exec: %w", err)
	}
	if ws, ok := g.Cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return g.Cmd.ProcessState.ExitCode(), nil
}

// streams makes what the command has for input and output.
func (g *Guest) streams() (*streams, error) {
	s := &streams{c: g.Command}
	switch {
	case g.Command.TTY && g.Terminal != nil:
		// What is said without one, is said of why there is none.
		err := s.pipe(&g.Cmd.Stdout, g.Command.Stdout)
		g.Cmd.Stderr = g.Cmd.Stdout
		return s, err
	case g.Command.TTY:
		outer, inner, err := terminal()
		if err != nil {
			return nil, fmt.Errorf("no terminal can be had: %w", err)
		}
		s.theirs = append(s.theirs, inner)
		s.adopt(outer)
		g.Cmd.Stdin, g.Cmd.Stdout, g.Cmd.Stderr = inner, inner, inner
		return s, nil
	}
	if err := s.pipe(&g.Cmd.Stdout, g.Command.Stdout); err != nil {
		return nil, err
	}
	if err := s.pipe(&g.Cmd.Stderr, g.Command.Stderr); err != nil {
		s.close()
		return nil, err
	}
	if g.Command.Stdin != nil {
		r, w, err := os.Pipe()
		if err != nil {
			s.close()
			return nil, err
		}
		s.theirs, s.input = append(s.theirs, r), w
		g.Cmd.Stdin = r
	}
	return s, nil
}

// pipe makes one that ends in to.
func (s *streams) pipe(at *io.Writer, to io.Writer) error {
	if to == nil {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	*at = w
	s.theirs = append(s.theirs, w)
	s.outputs = append(s.outputs, output{from: r, to: to})
	return nil
}

// terminal opens one. The reading of ours can be interrupted, which pty.Open
// alone doesn't give.
func terminal() (ours, theirs *os.File, err error) {
	outer, inner, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer outer.Close()
	fd := means.Duplicate(outer)
	if fd < 0 || unix.SetNonblock(fd, true) != nil {
		_ = inner.Close()
		return nil, nil, errors.New("it can't be duplicated")
	}
	return os.NewFile(uintptr(fd), "terminal"), inner, nil
}
