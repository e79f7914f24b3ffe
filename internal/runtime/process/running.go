package process

import (
	"context"
	"errors"

	"plane"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// process is one backend, running or ended.
type process struct {
	r    *Runtime
	b    warden.Running
	base string
}

func (p *process) Address() string { return address(p.b.Port) }

func (p *process) Pid() int { return p.b.Pid }

func (p *process) Stop(ctx context.Context, kind plane.StopKind) error {
	err := p.r.ask(ctx, func(c *warden.Client) error { return c.Stop(ctx, p.b.Backend, kind) })
	if errors.Is(err, runtime.ErrGone) {
		return runtime.ErrGone
	}
	return err
}

func (p *process) Wait(ctx context.Context) (plane.Exit, error) {
	if p.b.Exit != nil {
		return *p.b.Exit, nil
	}
	var exit plane.Exit
	err := p.r.ask(ctx, func(c *warden.Client) (err error) {
		exit, err = c.Wait(ctx, p.b.Backend)
		return err
	})
	return exit, err
}

func (p *process) Forget(ctx context.Context) error {
	return p.r.ask(ctx, func(c *warden.Client) error { return c.Forget(ctx, p.b.Backend) })
}

// Usage is what the backend's processes use, by looking from here.
func (p *process) Usage(context.Context) (runtime.Usage, error) {
	u, err := p.look().Usage(p.identity())
	return runtime.Usage{CPU: u.CPU, Memory: u.Memory}, err
}

// Listening looks at the sockets of the backend's processes.
func (p *process) Listening(context.Context) (owns, everywhere, known bool, err error) {
	return p.look().Listening(p.identity(), p.b.Port)
}

func (p *process) look() *means.Means { return means.At(p.r.home.Hash(), p.base, p.r.log) }

func (p *process) identity() means.Identity {
	return means.Identity{Backend: p.b.Backend, Pid: p.b.Pid, Start: p.b.Start, Cgroup: p.b.Cgroup}
}
