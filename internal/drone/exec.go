package drone

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"plane"
	"plane/internal/runtime"
	"plane/internal/wire"
)

// execution is a command that runs in a backend for somebody else.
type execution struct {
	cancel context.CancelCauseFunc
	resize chan runtime.Size
	input  *io.PipeWriter

	mu    sync.Mutex      // guards the fields below
	queue []wire.ExecPart // input that wasn't passed on
	held  int64           // bytes of it and of what is being passed on
	more  chan struct{}   // with room for one
	room  int64           // bytes of output that the asker still takes
	freed chan struct{}   // with room for one
}

const execPart = 32 << 10 // bytes a message

var (
	errWindow      = errors.New("more input came than the window allows")
	errBackendEnds = errors.New("the backend does not run, or is about to end")
)

// exec runs a command, away from everything that must arrive.
func (l *link) exec(work context.Context, m wire.ExecAsk) {
	ctx, cancel := context.WithCancelCause(work)
	in, input := io.Pipe()
	e := &execution{
		cancel: cancel, resize: make(chan runtime.Size, 1), input: input,
		more: make(chan struct{}, 1), room: wire.ExecWindow, freed: make(chan struct{}, 1),
	}
	l.mu.Lock()
	if l.execs == nil {
		l.execs = map[int64]*execution{}
	}
	l.execs[m.ID] = e
	l.mu.Unlock()
	var feeding sync.WaitGroup
	feeding.Go(func() { e.feed(ctx, func(n int64) { _ = l.conn.SendBulk(ctx, wire.ExecPart{ID: m.ID, Taken: n}) }) })
	l.helpers.Go(func() {
		exit, err := l.execute(ctx, m, e, in)
		l.mu.Lock()
		delete(l.execs, m.ID)
		l.mu.Unlock()
		end := wire.ExecPart{ID: m.ID, Exit: &exit}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if err != nil {
			end.Exit, end.Error = nil, err.Error()
		}
		_ = l.conn.SendBulk(work, end) // fails only if the connection has ended
		cancel(nil)
		_ = in.Close()
		feeding.Wait()
	})
}

func (l *link) execute(ctx context.Context, m wire.ExecAsk, e *execution, in io.Reader) (int, error) {
	r := l.roster.get(m.Backend)
	if r == nil {
		return 0, errors.New("the backend does not run here any more")
	}
	g := r.now.Load()
	if g.process == nil || g.state.Status.Ending() || !r.guests.enter() {
		return 0, errBackendEnds
	}
	defer r.guests.leave()
	x, ok := g.process.(runtime.Execer)
	if !ok {
		return 0, errors.New("the backend's runtime can't run further commands")
	}
	r.log.Info("running a command in the backend", "actor", m.Actor, "command", m.Argv)
	exit, err := x.Exec(ctx, runtime.Command{
		Unit: r.unit(g.given, r.socket()),
		Argv: m.Argv, TTY: m.TTY, Rows: m.Rows, Cols: m.Cols, Resize: e.resize, Stdin: in,
		Stdout: &execOutput{ctx: ctx, l: l, id: m.ID, e: e}, Stderr: &execOutput{ctx: ctx, l: l, id: m.ID, e: e, stderr: true},
	})
	if errors.Is(err, runtime.ErrGone) {
		err = errBackendEnds
	}
	return exit, err
}

// socket is that of the backend, "" if it was given none.
func (r *runner) socket() string {
	if r.exec.Kind() == plane.KindImage {
		return runtime.Socket // as it is seen inside
	}
	at := r.Home.BackendSocket(r.id)
	if _, err := os.Stat(at); err != nil {
		return ""
	}
	return at
}

// execPart takes what the asker says. It never waits.
func (l *link) execPart(m wire.ExecPart) {
	l.mu.Lock()
	e := l.execs[m.ID]
	l.mu.Unlock()
	if e == nil {
		return
	}
	if m.Kill {
		e.cancel(nil)
		return
	}
	if m.Rows > 0 && m.Cols > 0 {
		select {
		case <-e.resize: // an earlier size that nobody has seen
		default:
		}
		e.resize <- runtime.Size{Rows: m.Rows, Cols: m.Cols}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if m.Taken > 0 {
		e.room += m.Taken
		signal(e.freed)
	}
	if len(m.Data) > 0 || m.EOF {
		if e.held += int64(len(m.Data)); e.held > wire.ExecWindow {
			e.cancel(errWindow)
			return
		}
		e.queue = append(e.queue, m)
		signal(e.more)
	}
}

// feed passes input on and tells how much was taken.
func (e *execution) feed(ctx context.Context, taken func(int64)) {
	defer e.input.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.more:
		}
		e.mu.Lock()
		parts := e.queue
		e.queue = nil
		e.mu.Unlock()
		for _, p := range parts {
			if len(p.Data) > 0 {
				if _, err := e.input.Write(p.Data); err != nil {
					return
				}
				e.mu.Lock()
				e.held -= int64(len(p.Data))
				e.mu.Unlock()
				taken(int64(len(p.Data)))
			}
			if p.EOF {
				return
			}
		}
	}
}

// execOutput sends what a command writes, as far as the asker has room.
type execOutput struct {
	ctx    context.Context //nolint:containedctx // of the command, which Write has none for
	l      *link
	id     int64
	e      *execution
	stderr bool
}

func (o *execOutput) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		n := o.e.take(min(len(p)-sent, execPart))
		if n == 0 {
			select {
			case <-o.ctx.Done():
				return sent, o.ctx.Err()
			case <-o.e.freed:
			}
			continue
		}
		part := wire.ExecPart{ID: o.id, Data: append([]byte(nil), p[sent:sent+n]...), Stderr: o.stderr}
		if err := o.l.conn.SendBulk(o.ctx, part); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(p), nil
}

func (e *execution) take(want int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(int64(want), e.room)
	e.room -= n
	if e.room > 0 {
		signal(e.freed) // the other stream may wait too
	}
	return int(n)
}
