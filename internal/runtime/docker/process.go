package docker

import (
	"context"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
	"plane/internal/runtime/line"
)

// process is one backend, running or ended.
type process struct {
	r   *Runtime
	id  plane.BackendID
	way reach

	mu         sync.Mutex // guards the fields below
	running    warden.Running
	container  string // the engine's id; "" = not looked at yet
	stopSignal string // of the image; "" = SIGTERM
	address    string // unless it is reached inside
	softened   bool
}

func (r *Runtime) process(b warden.Running, way reach) *process {
	return &process{r: r, id: b.Backend, way: way, running: b}
}

// know keeps what the engine tells of the container.
func (p *process) know(c container.InspectResponse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.container = c.ID
	if c.Config != nil {
		p.stopSignal = c.Config.StopSignal
	}
	if a := hostPort(p.way, c, p.running.Port); a != "" && p.way != inside {
		p.address = a
	}
}

// look asks the engine unless it has been asked.
func (p *process) look(ctx context.Context) error {
	p.mu.Lock()
	known := p.container != ""
	p.mu.Unlock()
	if known {
		return nil
	}
	found, err := p.r.inspect(ctx, p.id)
	if err == nil {
		p.know(found)
	}
	return err
}

// inspect finds a backend's container. An engine that works answers at once.
func (r *Runtime) inspect(ctx context.Context, id plane.BackendID) (container.InspectResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	found, err := r.engine.ContainerInspect(ctx, containerName(id), client.ContainerInspectOptions{})
	return found.Container, err
}

// Address is that of the gate, unless the container can't be entered.
func (p *process) Address() string {
	if p.way == inside {
		return plane.GateAddress{Socket: p.r.o.Home.GateSocket(), Backend: p.id, Port: p.state().Port}.String()
	}
	ctx, cancel := context.WithTimeout(context.Background(), brief)
	defer cancel()
	_ = p.look(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

func (p *process) state() warden.Running {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// Pid is that of the container's first process.
func (p *process) Pid() int { return p.state().Pid }

func (p *process) identity() means.Identity {
	b := p.state()
	return means.Identity{Backend: b.Backend, Pid: b.Pid, Start: b.Start, Engine: true}
}

// alive reports whether its first process runs.
func (p *process) alive() bool {
	start, ok := means.StartOf(p.Pid())
	return ok && start == p.state().Start
}

// bind tells the warden the pid of its first process.
func (p *process) bind(ctx context.Context, pid int) error {
	return p.r.Ask(ctx, func(c *warden.Client) error {
		b, err := c.Bind(ctx, p.id, pid)
		if err == nil {
			p.mu.Lock()
			p.running.Pid, p.running.Start = b.Pid, b.Start
			p.mu.Unlock()
		}
		return err
	})
}

func (p *process) backend() *line.Backend { return &line.Backend{Line: p.r.Line, Running: p.state()} }

// Stop asks it to end by the signal that its image names, without the engine's
// own grace; or kills its first process, which needs no engine if the drone is root.
func (p *process) Stop(ctx context.Context, kind plane.StopKind) error {
	if kind == plane.Soft {
		return p.soften(ctx)
	}
	err := p.backend().Stop(ctx, kind)
	if err != nil || p.way != published {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	if _, err := p.r.engine.ContainerKill(ctx, containerName(p.id), client.ContainerKillOptions{}); err != nil && !gone(err) {
		return p.r.silent(err)
	}
	return nil
}

func (p *process) soften(ctx context.Context) error {
	asked, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_ = p.look(asked) // an engine that doesn't answer mustn't keep it from ending
	p.mu.Lock()
	sig, again := p.stopSignal, p.softened
	p.softened = true
	p.mu.Unlock()
	if sig == "" || line.Signal(sig) == unix.SIGTERM {
		if p.way == inside {
			return p.backend().Stop(ctx, plane.Soft)
		}
		sig = "SIGTERM"
	}
	if again {
		return nil
	}
	asked, cancel = context.WithTimeout(ctx, brief)
	defer cancel()
	if _, err := p.r.engine.ContainerKill(asked, containerName(p.id), client.ContainerKillOptions{Signal: sig}); err != nil {
		if gone(err) {
			return runtime.ErrGone
		}
		// In place of the image's own signal; and the grace runs.
		return p.backend().Stop(ctx, plane.Soft)
	}
	return nil
}

// Wait watches the container and returns when nothing of it is left. See
// runtime.Process. Any number may wait: the first who sees the end tells the
// warden.
func (p *process) Wait(ctx context.Context) (plane.Exit, error) {
	if exit := p.state().Exit; exit != nil {
		return *exit, nil
	}
	watching, cancel := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { p.watchOn(watching) })
	exit, err := p.backend().Wait(ctx)
	cancel()
	watcher.Wait()
	return exit, err
}

// Forget drops what warden and engine keep of it. What the engine can't remove
// now, Prune does.
func (p *process) Forget(ctx context.Context) error {
	if err := p.backend().Forget(ctx); err != nil {
		return err
	}
	if p.r.o.PruneAge > 0 {
		return nil // people may want to look at it
	}
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	if err := p.r.remove(ctx, containerName(p.id)); err != nil && !gone(err) {
		p.r.log.Debug("a container is left for later", "backend", p.id, "error", err)
	}
	return nil
}

func (r *Runtime) remove(ctx context.Context, container string) error {
	_, err := r.engine.ContainerRemove(ctx, container, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	return err
}
