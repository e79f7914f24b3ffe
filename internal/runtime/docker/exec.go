package docker

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"plane/internal/runtime"
)

// Exec runs another command in the container, as its user and with its
// environment. See runtime.Execer.
func (p *process) Exec(ctx context.Context, c runtime.Command) (int, error) {
	made, err := p.r.engine.ExecCreate(ctx, containerName(p.id), client.ExecCreateOptions{
		Cmd: c.Argv, TTY: c.TTY, AttachStdin: c.Stdin != nil, AttachStdout: true, AttachStderr: !c.TTY,
	})
	if err != nil {
		if gone(err) {
			return -1, runtime.ErrGone
		}
		return -1, p.r.execRefused(err)
	}
	conn, err := p.r.engine.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: c.TTY})
	if err != nil {
		return -1, p.r.execRefused(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() {
		p.r.killExec(made.ID)
		conn.Close()
	})
	defer stop()
	if c.TTY {
		resizing, done := context.WithCancel(ctx)
		defer done()
		go p.r.resize(resizing, made.ID, c)
	}
	if c.Stdin != nil {
		go func() { // until its reader ends: nothing else can end a Read
			_, _ = io.Copy(conn.Conn, c.Stdin)
			_ = conn.CloseWrite()
		}()
	}
	if err := show(c, conn.Reader); err != nil && ctx.Err() == nil {
		return -1, wrong("exec: its output broke off: %w", err)
	}
	return p.r.execEnd(ctx, made.ID)
}

func show(c runtime.Command, from io.Reader) error {
	out, errs := c.Stdout, c.Stderr
	if out == nil {
		out = io.Discard
	}
	if errs == nil {
		errs = io.Discard
	}
	var err error
	if c.TTY {
		_, err = io.Copy(out, from)
	} else {
		_, err = stdcopy.StdCopy(out, errs, from)
	}
	if errors.Is(err, unix.ECONNRESET) {
		return nil
	}
	return err
}

// resize sets the terminal's size, first and whenever it changes. The engine
// refuses while the command isn't there yet.
func (r *Runtime) resize(ctx context.Context, id string, c runtime.Command) {
	size := runtime.Size{Rows: c.Rows, Cols: c.Cols}
	for {
		for pause := 5 * time.Millisecond; size.Rows > 0 && size.Cols > 0; pause = min(2*pause, 200*time.Millisecond) {
			_, err := r.engine.ExecResize(ctx, id, client.ExecResizeOptions{Height: uint(size.Rows), Width: uint(size.Cols)})
			if err == nil || pause >= 200*time.Millisecond {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
		var ok bool
		select {
		case <-ctx.Done():
			return
		case size, ok = <-c.Resize:
			if !ok {
				return
			}
		}
	}
}

// execEnd tells the exit code once the command has ended.
func (r *Runtime) execEnd(ctx context.Context, id string) (int, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		at, err := r.engine.ExecInspect(ctx, id, client.ExecInspectOptions{})
		switch {
		case ctx.Err() != nil:
			return -1, ctx.Err()
		case err != nil && gone(err):
			return -1, runtime.ErrGone
		case err != nil:
			return -1, r.execRefused(err)
		case !at.Running:
			return at.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return -1, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// killExec kills a command, and its group if it leads one: the engine can't.
func (r *Runtime) killExec(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), brief)
	defer cancel()
	at, err := r.engine.ExecInspect(ctx, id, client.ExecInspectOptions{})
	if err != nil || !at.Running || at.PID <= 1 {
		return
	}
	if way, err := r.reached(ctx); err != nil || way == published {
		return // the number is one of another machine
	}
	_ = unix.Kill(-at.PID, unix.SIGKILL)
	_ = unix.Kill(at.PID, unix.SIGKILL)
}

func (r *Runtime) execRefused(err error) error {
	if answered(err) {
		return wrong("exec: the Docker engine says: %s", says(err))
	}
	return r.silent(err)
}
