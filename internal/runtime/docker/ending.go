package docker

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// How long an engine that doesn't answer is asked how a container ended. After
// that its end is told without.
const patience = 5 * time.Second

// watchOn watches until the warden is told of the end, or ctx ends.
func (p *process) watchOn(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.watch(ctx)
		if err == nil || errors.Is(err, runtime.ErrGone) {
			return
		}
		if ctx.Err() == nil {
			p.r.log.Warn("watching a container goes on", "backend", p.id, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// watch returns when it has seen the end of the container and told the warden.
func (p *process) watch(ctx context.Context) error {
	if p.Pid() == 0 {
		if done, err := p.resolve(ctx); done || err != nil {
			return err
		}
	}
	m, err := p.r.means(ctx)
	if err != nil {
		return err
	}
	if p.way == published {
		return p.watchAfar(ctx)
	}
	h := m.OpenHandle(p.identity())
	if h != nil {
		defer h.Close()
		if err := m.Ended(ctx, h); err != nil {
			return err
		}
	}
	exit, err := p.ending(ctx, m, h)
	if err != nil {
		return err
	}
	return p.r.ended(ctx, p.id, exit)
}

// resolve finds out about a backend whose first process isn't known: its start
// was cut short. done means that it has ended, and that the warden is told.
func (p *process) resolve(ctx context.Context) (done bool, err error) {
	release, err := p.r.Alone(ctx, p.id)
	if err != nil {
		return false, err
	}
	defer release()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		now := p.refresh(ctx)
		if now != nil {
			return false, now
		}
		if b := p.state(); b.Exit != nil {
			return true, nil
		} else if b.Pid != 0 {
			return false, nil
		}
		c, err := p.r.inspect(ctx, p.id)
		switch {
		case err == nil && c.State != nil && c.State.Pid != 0 && p.way == published:
			p.know(c)
			return false, nil
		case err == nil && c.State != nil && c.State.Pid != 0:
			p.know(c)
			if err := p.bind(ctx, c.State.Pid); err != nil {
				return false, err
			}
			if p.Pid() != 0 {
				return false, nil
			}
		case err == nil && c.State != nil && c.State.Status != container.StateCreated && !c.State.Running:
			if exit, ok := p.over(ctx, c); ok {
				return true, p.r.ended(ctx, p.id, exit)
			}
		case err == nil || errdefs.IsNotFound(err):
			return true, p.r.clear(ctx, p.id, plane.Exit{Fault: true, Message: "Its start was cut short, and nothing of it was left running."})
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// refresh asks the warden what it knows by now.
func (p *process) refresh(ctx context.Context) error {
	return p.r.Ask(ctx, func(c *warden.Client) error {
		b, err := c.Attach(ctx, p.id)
		if err == nil {
			p.mu.Lock()
			p.running = b
			p.mu.Unlock()
		}
		return err
	})
}

// watchAfar watches a container whose processes are those of another machine.
func (p *process) watchAfar(ctx context.Context) error {
	for pause := 100 * time.Millisecond; ; {
		c, err := p.r.inspect(ctx, p.id)
		switch {
		case err == nil && c.State != nil && !c.State.Running && c.State.Status != container.StateCreated:
			if exit, ok := p.over(ctx, c); ok {
				return p.r.ended(ctx, p.id, exit)
			}
		case errdefs.IsNotFound(err):
			return p.r.ended(ctx, p.id, plane.Exit{Message: "Its container was removed."})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// ending finds out how a container ended whose first process is gone. The engine
// takes a moment to see it. If it doesn't answer, the kernel may know.
func (p *process) ending(ctx context.Context, m *means.Means, h *means.Handle) (plane.Exit, error) {
	r, message := p.r, ""
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := 2 * time.Millisecond; asked.Err() == nil; pause = min(2*pause, 200*time.Millisecond) {
		once, cancel := context.WithTimeout(asked, time.Second)
		c, err := r.inspect(once, p.id)
		cancel()
		switch {
		case err == nil && c.State != nil && !c.State.Running:
			if exit, ok := p.over(asked, c); ok {
				return exit, nil
			}
		case err == nil && c.State != nil && c.State.Pid != 0 && c.State.Pid != p.Pid():
			message = "Its container was started again by somebody else, so it was removed; its exit code isn't known."
			r.bar(p.id)
			if err := r.remove(asked, c.ID); err != nil && !gone(err) {
				r.log.Warn("a container that somebody started again can't be removed yet", "backend", p.id, "error", err)
			}
		case errdefs.IsNotFound(err) && message == "":
			return plane.Exit{Message: "Its container was removed by somebody else; its exit code isn't known."}, nil
		case errdefs.IsNotFound(err):
			return plane.Exit{Message: message}, nil
		case err != nil && h != nil && !answered(err):
			if exit, _, known := m.Status(h); known {
				return exit, ctx.Err()
			}
		}
		select {
		case <-asked.Done():
		case <-time.After(pause):
		}
	}
	if message != "" {
		return plane.Exit{}, errors.New("somebody has started it again, and it can't be removed yet")
	}
	return plane.Exit{Message: "Its exit code isn't known: the Docker engine didn't answer when it ended."}, ctx.Err()
}

// over makes sure that a container that has ended stays so, and tells how it
// ended. It is false if somebody has been quicker and started it again, or the
// engine doesn't say.
func (p *process) over(ctx context.Context, c container.InspectResponse) (exit plane.Exit, ok bool) {
	p.r.bar(p.id)
	now, err := p.r.inspect(ctx, p.id)
	if err != nil && !errdefs.IsNotFound(err) || err == nil && now.State != nil && now.State.Running {
		return plane.Exit{}, false
	}
	exit = exitOf(c)
	exit.Output = p.r.lastLines(ctx, p.id)
	if exit.Message == "" && !exit.OOM && p.way == inside {
		exit.Message = p.r.meddling(ctx, c)
	}
	return exit, true
}

// bar takes away what a container can't be started without: an engine that has a
// request to start it, and people who would like to, can't any more.
func (r *Runtime) bar(id plane.BackendID) {
	if err := os.RemoveAll(r.o.Home.DoorDir(id)); err != nil {
		r.log.Error("a directory is left that lets a backend start", "backend", id, "error", err)
	}
}

// exitOf reads a container that has ended.
func exitOf(c container.InspectResponse) plane.Exit {
	code := c.State.ExitCode
	exit := plane.Exit{Code: &code}
	if sig := unix.SignalName(unix.Signal(code - 128)); code > 128 && code < 128+32 {
		exit.Signal = sig
	}
	exit.OOM = c.State.OOMKilled && code != 0
	if c.State.Error != "" {
		exit.Message = "The Docker engine says: " + strings.TrimRight(c.State.Error, ".") + "."
	}
	return exit
}

// ended tells the warden, and takes back what the backend had been given.
func (r *Runtime) ended(ctx context.Context, id plane.BackendID, exit plane.Exit) error {
	r.mu.Lock()
	delete(r.sizes, id)
	r.mu.Unlock()
	if r.o.Way != nil {
		if err := r.o.Way.Detach(ctx, id); err != nil && ctx.Err() == nil {
			r.log.Warn("the way out of a backend is left", "backend", id, "error", err)
		}
	}
	return r.Ask(ctx, func(c *warden.Client) error { return c.Release(ctx, id, exit) })
}

// clear makes a backend absent whose start was given up, and tells the warden
// when that is certain. The engine may be asleep and have a request of ours to
// carry out when it wakes: the directory without which the container can't start
// goes first; and what the engine is asked here it does after those requests, or
// they find no container. It goes on until ctx ends.
func (r *Runtime) clear(ctx context.Context, id plane.BackendID, exit plane.Exit) error {
	err := r.Ask(ctx, func(c *warden.Client) error { return c.Stop(ctx, id, plane.Hard) })
	if err != nil && !errors.Is(err, runtime.ErrGone) {
		return err
	}
	r.bar(id)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if r.absent(ctx, id) {
			return r.ended(ctx, id, exit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// absent removes the container, if it is ours, and looks.
func (r *Runtime) absent(ctx context.Context, id plane.BackendID) bool {
	c, err := r.inspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return true
	}
	if err != nil {
		return false
	}
	if c.Config != nil && c.Config.Labels[labelDrone] != r.o.Home.Hash() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 2*brief)
	defer cancel()
	if err := r.remove(ctx, c.ID); err != nil && !gone(err) {
		r.log.Warn("a container can't be removed yet", "backend", id, "error", err)
	}
	_, err = r.inspect(ctx, id)
	return errdefs.IsNotFound(err)
}
