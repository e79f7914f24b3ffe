package docker

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"plane"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// Start runs u. See runtime.Runtime. The warden has its entry before the engine
// hears of it. When ctx ends, or the engine doesn't answer, nothing of the
// backend will run for longer than it takes to see it, whenever the engine
// wakes; until then its key isn't free here.
func (r *Runtime) Start(ctx context.Context, u runtime.Unit) (runtime.Process, error) {
	if u.Executable.Image == "" {
		return nil, errors.New("the docker runtime runs images only; this backend has a command and no image")
	}
	way, filter, err := r.known(ctx)
	if err != nil {
		return nil, err
	}
	release, err := r.Alone(ctx, u.Backend)
	if err != nil {
		return nil, err
	}
	running, err := r.guard(ctx, u)
	if err != nil || running.Exit != nil || running.Pid != 0 {
		release()
		if err != nil {
			return nil, err
		}
		return r.process(running, way), nil
	}
	p, err := r.bring(ctx, u, filter, way, running)
	if err == nil {
		release()
		return p, nil
	}
	cleared := make(chan struct{})
	r.duties.Go(func() {
		defer close(cleared)
		defer release()
		life, cancel := r.living(context.WithoutCancel(ctx))
		defer cancel()
		if r.clear(life, u.Backend, plane.Exit{Message: err.Error() + "."}) == nil {
			_ = r.Ask(life, func(c *warden.Client) error { return c.Forget(life, u.Backend) })
		}
	})
	select { // what can be cleared at once is
	case <-cleared:
	case <-ctx.Done():
	case <-time.After(brief):
	}
	return nil, err
}

func (r *Runtime) guard(ctx context.Context, u runtime.Unit) (running warden.Running, err error) {
	o := warden.Order{
		Backend: u.Backend, Key: u.Key.Hash(), Generation: u.Generation, Policy: u.Policy, Epoch: u.Epoch,
		Deadline: u.Deadline, Grace: u.Grace, Port: u.Port, Runtime: plane.RuntimeDocker,
	}
	err = r.Ask(ctx, func(c *warden.Client) (err error) {
		running, err = c.Guard(ctx, o)
		return err
	})
	return running, err
}

// bring makes the container run, from whatever state it is in.
func (r *Runtime) bring(ctx context.Context, u runtime.Unit, filter string, way reach, running warden.Running) (*process, error) {
	m, err := r.mounts(u, way)
	defer m.close()
	if err != nil {
		return nil, err
	}
	marks, err := r.means(ctx)
	if err != nil {
		return nil, err
	}
	o, err := r.o.describe(u, marks.MarkEnv(u.Backend), filter, way, m.mounts)
	if err != nil {
		return nil, err
	}
	if way == bridged {
		if err := r.ensureBridge(ctx); err != nil {
			return nil, r.silent(err)
		}
	}
	made, err := r.engine.ContainerCreate(ctx, o)
	switch {
	case errdefs.IsConflict(err): // an agent before this one has made it
		made.ID = o.Name
		if err := r.ours(ctx, u.Backend); err != nil {
			return nil, err
		}
	case errdefs.IsNotFound(err):
		return nil, wrong("image %s isn't there: %s; let its pull_policy be IfNotPresent", u.Executable.Image, says(err))
	case err != nil:
		return nil, r.engineRefuses(err)
	}
	if err := discarded(u.Executable.Limits, made.Warnings); err != nil {
		return nil, err
	}
	if err := r.startMade(ctx, u, m, made.ID); err != nil {
		return nil, err
	}
	found, err := r.engine.ContainerInspect(ctx, made.ID, client.ContainerInspectOptions{})
	if err != nil {
		return nil, r.engineRefuses(err)
	}
	return r.bound(ctx, u, way, running, m, found.Container)
}

func (r *Runtime) startMade(ctx context.Context, u runtime.Unit, m mounted, id string) error {
	if err := r.give(ctx, m, id); err != nil {
		return err
	}
	if _, err := r.engine.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		if u.Doors != "" {
			if _, gone := os.Stat(u.Doors); gone != nil && answered(err) {
				return runtime.ErrDead // condemned meanwhile: see the executioner
			}
		}
		return r.engineRefuses(err)
	}
	return nil
}

// bound tells the warden the pid of what runs. One that has ended already is
// returned too: its Wait finds out how.
func (r *Runtime) bound(ctx context.Context, u runtime.Unit, way reach, running warden.Running, m mounted, c container.InspectResponse) (*process, error) {
	p := r.process(running, way)
	p.know(c)
	if c.State == nil || c.State.Pid == 0 {
		return p, nil
	}
	if way == published {
		return p, nil // its pid is one of another machine
	}
	if !r.isOurs(u.Backend, c) && c.State.Running {
		if _, err := os.Stat("/proc/" + strconv.Itoa(c.State.Pid)); err == nil || os.Geteuid() != 0 {
			return nil, errors.New("the containers of this Docker engine are not processes of this machine, so their deadlines can't be kept; run the drone where the engine runs")
		}
	}
	if !m.seen(c.State.Pid) {
		return nil, errors.New("spawn_config.executable.mount: the engine has mounted another directory; let it and the drone see the same file systems")
	}
	if err := p.bind(ctx, c.State.Pid); err != nil {
		return nil, err
	}
	if r.o.wayOut(u) && p.Pid() != 0 {
		if err := r.o.Way.Attach(ctx, p.Pid(), u.Backend, u.Egress); err != nil && p.alive() {
			return nil, wrong("give the backend its way out: %w", err)
		}
	}
	return p, nil
}

// isOurs reports whether the pid that the engine tells is that of the container
// on this machine, and not one of another kernel.
func (r *Runtime) isOurs(id plane.BackendID, c container.InspectResponse) bool {
	proc := filepath.Join("/proc", strconv.Itoa(c.State.Pid))
	if b, err := os.ReadFile(filepath.Join(proc, "cgroup")); err == nil && bytes.Contains(b, []byte(c.ID)) {
		return true
	}
	b, err := os.ReadFile(filepath.Join(proc, "environ"))
	return err == nil && bytes.Contains(b, []byte(r.o.Home.Hash()+":"+string(id)))
}

// ours refuses a container that another drone, or a person, has given our name.
func (r *Runtime) ours(ctx context.Context, id plane.BackendID) error {
	found, err := r.engine.ContainerInspect(ctx, containerName(id), client.ContainerInspectOptions{})
	if err != nil {
		return r.engineRefuses(err)
	}
	if c := found.Container.Config; c == nil || c.Labels[labelDrone] != r.o.Home.Hash() {
		return wrong("the Docker engine has a container %s that is not of this drone; remove it", containerName(id))
	}
	return nil
}

// noCommand is how runc and crun say that there is no program to run: with its
// name and why.
var noCommand = regexp.MustCompile(`exec: "([^"]+)": (?:stat [^:]+: )?(no such file or directory|executable file not found in \$PATH|permission denied|is a directory)`)

// engineRefuses is the engine's sentence, or that it doesn't answer.
func (r *Runtime) engineRefuses(err error) error {
	no := noCommand.FindStringSubmatch(err.Error())
	switch {
	case no != nil && answered(err):
		return wrong("the image has no command %q that can be run (%s); correct the command or the image", no[1], no[2])
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return wrong("the Docker engine didn't answer in time: %w", cause(err))
	case answered(err):
		return wrong("the Docker engine refuses to start it: %s", says(err))
	}
	return r.silent(err)
}

// means is for looking at what the warden keeps.
func (r *Runtime) means(ctx context.Context) (*means.Means, error) {
	r.mu.Lock()
	known := r.marks
	r.mu.Unlock()
	if known != nil {
		return known, nil
	}
	err := r.Ask(ctx, func(c *warden.Client) error {
		known = means.At(r.o.Home.Hash(), c.Welcome().Base, r.log)
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = known
	return known, err
}
