package process

import (
	"context"

	"plane/internal/runtime"
	"plane/internal/runtime/line"
)

// process is one backend, running or ended.
type process struct {
	line.Backend
	r *Runtime
}

func (p *process) Address() string { return address(p.Running.Port) }

// Usage is what the backend's processes use, by looking from here.
func (p *process) Usage(context.Context) (runtime.Usage, error) {
	m, id := p.Look()
	u, err := m.Usage(id)
	return runtime.Usage{CPU: u.CPU, Memory: u.Memory, Cache: u.Cache, Pids: u.Pids}, err
}

// Listening looks at the sockets of the backend's processes.
func (p *process) Listening(context.Context) (owns, everywhere, known bool, err error) {
	m, id := p.Look()
	return m.Listening(id, p.Running.Port)
}
