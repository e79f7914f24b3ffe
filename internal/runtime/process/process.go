// Package process runs backends that are commands of this machine. It does so
// through the warden, which is their parent: what runs here outlives this
// process.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// Options of a Runtime.
type Options struct {
	Home home.Home
	Log  *slog.Logger // nil = none
}

// Runtime runs commands. It keeps one connection to the warden and makes a new
// one when that breaks.
type Runtime struct {
	dial func(context.Context) (*warden.Client, error)
	home home.Home
	log  *slog.Logger

	dialing sync.Mutex // held while a connection is made

	mu     sync.Mutex // guards client
	client *warden.Client
}

var (
	_ runtime.Runtime  = (*Runtime)(nil)
	_ runtime.Logger   = (*Runtime)(nil)
	_ runtime.Meter    = (*process)(nil)
	_ runtime.Listener = (*process)(nil)
)

// New makes a Runtime. dial is called for the first connection and after each
// loss; it makes sure that a warden runs and connects to it.
func New(dial func(context.Context) (*warden.Client, error), o Options) *Runtime {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Runtime{dial: dial, home: o.Home, log: o.Log}
}

// Connect makes the connection if there is none and returns it.
func (r *Runtime) Connect(ctx context.Context) (*warden.Client, error) {
	if c := r.connected(); c != nil {
		return c, nil
	}
	r.dialing.Lock()
	defer r.dialing.Unlock()
	if c := r.connected(); c != nil {
		return c, nil
	}
	c, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = c
	return c, nil
}

func (r *Runtime) connected() *warden.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == nil {
		return nil
	}
	select {
	case <-r.client.Done():
		return nil
	default:
		return r.client
	}
}

// Instance is that of the warden last connected to, "" before the first
// connection. While it stays the same nothing went unwatched.
func (r *Runtime) Instance() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == nil {
		return ""
	}
	return r.client.Instance()
}

// Close lets go of the warden. What runs runs on.
func (r *Runtime) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		r.client.Close()
	}
}

// ask does f with a connection, and again with a new one when that is lost:
// all that is asked of a warden may be asked twice.
func (r *Runtime) ask(ctx context.Context, f func(*warden.Client) error) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		c, err := r.Connect(ctx)
		if err == nil {
			if err = f(c); !errors.Is(err, warden.ErrLost) {
				return translate(err)
			}
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		r.log.Debug("asking the warden again", "error", err)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

func translate(err error) error {
	switch {
	case errors.Is(err, warden.ErrGone):
		return runtime.ErrGone
	case errors.Is(err, warden.ErrDead):
		return runtime.ErrDead
	}
	return err
}

// Prepare reports a command that can't be found or executed.
func (r *Runtime) Prepare(_ context.Context, u runtime.Unit, _ func(runtime.Progress)) (runtime.Prepared, error) {
	if len(u.Executable.Command) == 0 {
		return runtime.Prepared{}, errors.New("the process runtime runs commands only; this backend has none")
	}
	return runtime.Prepared{}, means.Check(u.Executable, u.Env)
}

// Start runs u. See runtime.Runtime.
func (r *Runtime) Start(ctx context.Context, u runtime.Unit) (runtime.Process, error) {
	if len(u.Executable.Command) == 0 {
		return nil, errors.New("the process runtime runs commands only; this backend has none")
	}
	o := warden.Order{
		Backend: u.Backend, Key: u.Key.Hash(), Generation: u.Generation, Policy: u.Policy, Epoch: u.Epoch,
		Deadline: u.Deadline, Grace: u.Grace, Executable: u.Executable, Env: u.Env, Port: u.Port,
	}
	var p runtime.Process
	err := r.ask(ctx, func(c *warden.Client) error {
		running, warnings, err := c.Start(ctx, o)
		for _, w := range warnings {
			r.log.Warn(w, "backend", u.Backend)
		}
		p = r.process(c, running)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Found lists what runs and what ended and isn't forgotten.
func (r *Runtime) Found(ctx context.Context) ([]runtime.Found, error) {
	var all []runtime.Found
	err := r.ask(ctx, func(c *warden.Client) error {
		running, err := c.Found(ctx)
		all = nil
		for _, b := range running {
			all = append(all, runtime.Found{Backend: b.Backend, Pid: b.Pid, Address: address(b.Port), Exit: b.Exit})
		}
		return err
	})
	return all, err
}

// Attach gives the process of one of Found.
func (r *Runtime) Attach(ctx context.Context, id plane.BackendID) (runtime.Process, error) {
	var p runtime.Process
	err := r.ask(ctx, func(c *warden.Client) error {
		running, err := c.Attach(ctx, id)
		p = r.process(c, running)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Output reads what a backend wrote. See runtime.Logger. It goes on when the
// warden is replaced.
func (r *Runtime) Output(ctx context.Context, id plane.BackendID, tail int, follow bool) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	o := &outputReader{r: r, id: id, follow: follow, ctx: func() context.Context { return ctx }, cancel: cancel}
	if err := o.open(tail, -1); err != nil {
		cancel()
		return nil, err
	}
	return o, nil
}

func (r *Runtime) process(c *warden.Client, b warden.Running) *process {
	return &process{r: r, b: b, base: c.Welcome().Base}
}

func address(port int) string {
	if port == 0 {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// outputReader is one reading of output over as many wardens as it takes.
type outputReader struct {
	r      *Runtime
	id     plane.BackendID
	follow bool
	ctx    func() context.Context // of the whole reading, which Read has none for
	cancel context.CancelFunc

	mu  sync.Mutex // guards cur
	cur *warden.OutputReader
}

func (o *outputReader) open(tail int, from int64) error {
	return o.r.ask(o.ctx(), func(*warden.Client) error {
		cur, err := warden.Output(o.ctx(), o.r.home, o.id, tail, o.follow, from)
		if err != nil && !errors.Is(err, warden.ErrGone) {
			return fmt.Errorf("%w: %w", warden.ErrLost, err)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.cur = cur
		return err
	})
}

func (o *outputReader) Read(p []byte) (int, error) {
	for {
		o.mu.Lock()
		cur := o.cur
		o.mu.Unlock()
		n, err := cur.Read(p)
		if n > 0 || !errors.Is(err, warden.ErrLost) {
			return n, err
		}
		if o.ctx().Err() != nil {
			return 0, o.ctx().Err()
		}
		_ = cur.Close()
		if err := o.open(0, cur.Offset()); err != nil {
			if errors.Is(err, runtime.ErrGone) {
				return 0, io.EOF
			}
			return 0, err
		}
	}
}

// Close ends the reading.
func (o *outputReader) Close() error {
	o.cancel()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cur.Close()
}
