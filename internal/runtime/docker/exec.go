package docker

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"plane/internal/drone/means"
	"plane/internal/runtime"
	"plane/internal/runtime/line"
)

// Exec runs another command in the container, as its user and with its
// environment. See runtime.Execer. The engine can't kill one: what is given up
// is found by a marker of its own, whether or not the engine answers. Where
// processes are those of another machine it runs on.
func (p *process) Exec(ctx context.Context, c runtime.Command) (int, error) {
	marks, err := p.r.means(ctx)
	if err != nil {
		return -1, err
	}
	x := &execution{r: p.r, c: c, guest: marks.NewGuest(p.identity())}
	made, err := p.r.engine.ExecCreate(ctx, containerName(p.id), client.ExecCreateOptions{
		Cmd: c.Argv, TTY: c.TTY, AttachStdin: c.Stdin != nil, AttachStdout: true, AttachStderr: !c.TTY,
		Env: []string{x.guest.MarkEnv()},
	})
	if err != nil {
		return -1, p.r.execRefused(ctx, err)
	}
	x.id = made.ID
	conn, err := p.r.engine.ExecAttach(ctx, x.id, client.ExecAttachOptions{TTY: c.TTY})
	if err != nil {
		if !answered(err) {
			x.giveUp() // it may have begun, or begin yet
		}
		return -1, p.r.execRefused(ctx, err)
	}
	defer conn.Close()
	while, end := context.WithCancelCause(ctx)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer end(nil)
	watcher.Go(func() { p.watchGuest(while, marks, end) })
	code, err := x.run(while, conn.HijackedResponse)
	dead := p.Pid() != 0 && !p.alive() // and with it all that ran there
	switch {
	case err == nil:
		x.guest.End() // what it left
	case !dead:
		x.giveUp()
	}
	switch cause := context.Cause(while); {
	case cause != nil:
		return -1, cause
	case dead && (code == killed || err != nil):
		return -1, line.ErrEnded
	}
	return code, err
}

const (
	killed    = 128 + int(unix.SIGKILL)
	engineLag = 2 * time.Second // how long an engine may take to tell of an end that we have seen
)

// watchGuest ends a command whose backend has ended, also when the engine
// doesn't say so.
func (p *process) watchGuest(ctx context.Context, m *means.Means, end context.CancelCauseFunc) {
	h := m.OpenHandle(p.identity())
	if p.Pid() == 0 || h == nil {
		return
	}
	defer h.Close()
	if m.Ended(ctx, h) != nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(engineLag):
		end(line.ErrEnded)
	}
}

// execution is one use of Exec.
type execution struct {
	r     *Runtime
	c     runtime.Command
	id    string // the engine's
	guest *means.Guest
}

// run passes everything on until the command ends.
func (x *execution) run(ctx context.Context, conn client.HijackedResponse) (int, error) {
	defer context.AfterFunc(ctx, conn.Close)()
	if x.c.TTY {
		resizing, done := context.WithCancel(ctx)
		var sizes sync.WaitGroup
		defer sizes.Wait()
		defer done()
		sizes.Go(func() { x.resize(resizing) })
	}
	if x.c.Stdin != nil {
		go func() { // until its reader ends: nothing else can end a Read
			_, _ = io.Copy(conn.Conn, x.c.Stdin)
			if x.c.TTY { // whose end of input would be the end of its output too
				_, _ = conn.Conn.Write([]byte{line.EndOfInput})
				return
			}
			_ = conn.CloseWrite()
		}()
	}
	if err := x.show(conn.Reader); err != nil && ctx.Err() == nil {
		return -1, wrong("exec: its output broke off: %w", err)
	}
	return x.end(ctx)
}

func (x *execution) show(from io.Reader) error {
	out, errs := x.c.Stdout, x.c.Stderr
	if out == nil {
		out = io.Discard
	}
	if errs == nil {
		errs = io.Discard
	}
	var err error
	if x.c.TTY {
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
func (x *execution) resize(ctx context.Context) {
	size := runtime.Size{Rows: x.c.Rows, Cols: x.c.Cols}
	for {
		for pause := 5 * time.Millisecond; size.Rows > 0 && size.Cols > 0; pause = min(2*pause, 200*time.Millisecond) {
			_, err := x.r.engine.ExecResize(ctx, x.id, client.ExecResizeOptions{Height: uint(size.Rows), Width: uint(size.Cols)})
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
		case size, ok = <-x.c.Resize:
			if !ok {
				return
			}
		}
	}
}

// end tells the exit code once the command has ended.
func (x *execution) end(ctx context.Context) (int, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		at, err := x.r.engine.ExecInspect(ctx, x.id, client.ExecInspectOptions{})
		switch {
		case err != nil:
			return -1, x.r.execRefused(ctx, err)
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

// giveUp kills the command, which is done at once unless the engine sleeps with
// the command not begun: then when it wakes.
func (x *execution) giveUp() {
	killed := make(chan struct{})
	x.r.duties.Go(func() {
		defer close(killed)
		life, cancel := x.r.living(context.Background())
		defer cancel()
		x.kill(life)
	})
	select {
	case <-killed:
	case <-time.After(brief):
	}
}

// kill kills whatever carries the mark. While nothing does, the engine is asked:
// it may have lost the asker and not have begun yet, so one that answers is given
// a while for that.
func (x *execution) kill(ctx context.Context) {
	begun, waited := false, time.Duration(0)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		switch {
		case x.guest.Kill() > 0:
			begun, pause = true, 5*time.Millisecond
		case begun || x.over(ctx, pause, &waited):
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// over reports whether the engine has the command behind it, or has answered for
// so long that it won't begin it.
func (x *execution) over(ctx context.Context, pause time.Duration, waited *time.Duration) bool {
	asked, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	at, err := x.r.engine.ExecInspect(asked, x.id, client.ExecInspectOptions{})
	if err != nil || at.Running {
		return answered(err)
	}
	*waited += pause
	return at.PID != 0 || at.ExitCode != 0 || *waited > 2*time.Second
}

func (r *Runtime) execRefused(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case gone(err):
		return runtime.ErrGone
	case answered(err):
		return wrong("exec: the Docker engine says: %s", says(err))
	}
	return r.silent(err)
}
