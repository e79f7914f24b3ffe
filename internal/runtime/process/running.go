package process

import (
	"context"

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

func (p *process) Address() string { return address(p.Running.Port) }

// Usage is what the backend's processes use, by looking from here.
func (p *process) Usage(context.Context) (runtime.Usage, error) {
	u, err := p.look().Usage(p.identity())
	return runtime.Usage{CPU: u.CPU, Memory: u.Memory}, err
}

// Listening looks at the sockets of the backend's processes.
func (p *process) Listening(context.Context) (owns, everywhere, known bool, err error) {
	return p.look().Listening(p.identity(), p.Running.Port)
}

func (p *process) look() *means.Means { return means.At(p.r.home.Hash(), p.base, p.r.log) }

func (p *process) identity() means.Identity {
	return means.Identity{Backend: p.Running.Backend, Pid: p.Running.Pid, Start: p.Running.Start, Group: p.Running.Group}
}
