// Package process runs backends that are commands of this machine. It does so
// through the warden, which is their parent: what runs here outlives this
// process.
package process

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
	"plane/internal/runtime/line"
)

// Options of a Runtime.
type Options struct {
	Home home.Home
	Log  *slog.Logger // nil = none
}

// Runtime runs commands.
type Runtime struct {
	*line.Line
	home home.Home
	log  *slog.Logger
}

var (
	_ runtime.Runtime  = (*Runtime)(nil)
	_ runtime.Logger   = (*Runtime)(nil)
	_ runtime.Meter    = (*process)(nil)
	_ runtime.Listener = (*process)(nil)
	_ runtime.Execer   = (*process)(nil)
)

// New makes a Runtime. dial is called for the first connection and after each
// loss; it makes sure that a warden runs and connects to it.
func New(dial func(context.Context) (*warden.Client, error), o Options) *Runtime {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Runtime{Line: line.New(dial, o.Home, o.Log), home: o.Home, log: o.Log}
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
	b, err := r.Begin(ctx, o)
	if err != nil {
		return nil, err
	}
	return &process{b, r}, nil
}

// Found lists what runs and what ended and isn't forgotten.
func (r *Runtime) Found(ctx context.Context) ([]runtime.Found, error) {
	held, err := r.Held(ctx, plane.RuntimeProcess)
	var all []runtime.Found
	for _, b := range held {
		all = append(all, runtime.Found{Backend: b.Backend, Pid: b.Pid, Address: address(b.Port), Exit: b.Exit})
	}
	return all, err
}

// Attach gives the process of one of Found.
func (r *Runtime) Attach(ctx context.Context, id plane.BackendID) (runtime.Process, error) {
	b, err := r.Hold(ctx, plane.RuntimeProcess, id)
	if err != nil {
		return nil, err
	}
	return &process{b, r}, nil
}

func address(port int) string {
	if port == 0 {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
