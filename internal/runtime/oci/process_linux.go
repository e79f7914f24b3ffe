package oci

import (
	"context"
	"errors"
	"sync/atomic"

	"plane/internal/runtime"
	"plane/internal/runtime/line"
)

// process is one backend, running or ended.
type process struct {
	line.Backend
	r *Runtime

	asked atomic.Bool // to end, by its own signal
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
