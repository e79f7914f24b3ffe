package oci

import (
	"context"
	"errors"

	"plane/internal/drone/means"
	"plane/internal/runtime"
	"plane/internal/runtime/line"
)

// process is one backend, running or ended.
type process struct {
	line.Backend
	r    *Runtime
	base string
}

func (p *process) Address() string { return p.r.address(p.Running) }

func (p *process) bundle() bundle { return bundleOf(p.r.opts.Home, string(p.Running.Backend)) }

// Forget drops its bundle too.
func (p *process) Forget(ctx context.Context) error {
	if err := p.Backend.Forget(ctx); err != nil && !errors.Is(err, runtime.ErrGone) {
		return err
	}
	p.r.closeWay(ctx, p.Running.Backend)
	p.r.mu.Lock()
	delete(p.r.sizes, p.Running.Backend)
	p.r.mu.Unlock()
	return errors.Join(p.bundle().remove(p.r.opts.Home), p.r.from.release(string(p.Running.Backend)))
}

func (p *process) look() *means.Means { return means.At(p.r.opts.Home.Hash(), p.base, p.r.log) }

func (p *process) identity() means.Identity {
	return means.Identity{Backend: p.Running.Backend, Pid: p.Running.Pid, Start: p.Running.Start, Group: p.Running.Group}
}
