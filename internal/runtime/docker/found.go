package docker

import (
	"context"

	"plane"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// Found lists what runs and what ended and isn't forgotten, as the warden knows
// it: the engine needn't answer.
func (r *Runtime) Found(ctx context.Context) ([]runtime.Found, error) {
	known, err := r.known(ctx)
	if err != nil {
		return nil, err
	}
	var all []runtime.Found
	for _, b := range known {
		f := runtime.Found{Backend: b.Backend, Pid: b.Pid, Exit: b.Exit}
		if b.Exit == nil {
			f.Address = r.process(b, r.usual(ctx, b)).Address()
		}
		all = append(all, f)
	}
	return all, nil
}

func (r *Runtime) known(ctx context.Context) ([]warden.Running, error) {
	var all []warden.Running
	err := r.Ask(ctx, func(c *warden.Client) error {
		found, err := c.Found(ctx)
		all = nil
		for _, b := range found {
			if b.Runtime == plane.RuntimeDocker {
				all = append(all, b)
			}
		}
		return err
	})
	return all, err
}

// usual is how a backend of ours is reached. One whose pid is known runs on this
// machine: the engine needn't be asked.
func (r *Runtime) usual(ctx context.Context, b warden.Running) reach {
	r.mu.Lock()
	known := r.reach
	r.mu.Unlock()
	if known != unknown {
		return known
	}
	if b.Pid == 0 && b.Exit == nil {
		if way, err := r.reached(ctx); err == nil {
			return way
		}
	}
	return r.o.local()
}

// Attach gives the process of one of Found.
func (r *Runtime) Attach(ctx context.Context, id plane.BackendID) (runtime.Process, error) {
	var b warden.Running
	err := r.Ask(ctx, func(c *warden.Client) (err error) {
		b, err = c.Attach(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	if b.Runtime != plane.RuntimeDocker {
		return nil, runtime.ErrGone
	}
	return r.process(b, r.usual(ctx, b)), nil
}
