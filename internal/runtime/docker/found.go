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
	known, err := r.Held(ctx, plane.RuntimeDocker)
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
	b, err := r.Hold(ctx, plane.RuntimeDocker, id)
	if err != nil {
		return nil, err
	}
	return r.process(b.Running, r.usual(ctx, b.Running)), nil
}
