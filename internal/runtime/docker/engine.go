package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"plane/internal/runtime/isolation"
)

// wrong makes a sentence.
func wrong(format string, args ...any) error { return fmt.Errorf(format, args...) }

// says is the engine's own sentence.
func says(err error) string {
	s := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	return strings.TrimRight(strings.TrimSpace(s), ".")
}

// answered reports whether the engine has refused what it was asked. Otherwise
// it may have done it, or may do it yet.
func answered(err error) bool {
	for _, is := range []func(error) bool{
		errdefs.IsNotFound, errdefs.IsConflict, errdefs.IsInvalidArgument, errdefs.IsInternal, errdefs.IsUnauthorized,
		errdefs.IsPermissionDenied, errdefs.IsUnavailable, errdefs.IsNotImplemented, errdefs.IsNotModified,
	} {
		if is(err) {
			return true
		}
	}
	return false
}

// gone reports whether what was asked for isn't there, or is about to go.
func gone(err error) bool { return errdefs.IsNotFound(err) || errdefs.IsConflict(err) }

// brief is how long an engine that works takes for one answer at most, on a
// busy machine.
const brief = 5 * time.Second

// reach is how a backend's port is reached.
type reach int

const (
	unknown   reach = iota
	inside          // through the gate, which enters the container's network
	bridged         // its address on an internal bridge of ours
	published       // a port of 127.0.0.1
)

// reached finds out, once, how backends are reached.
func (r *Runtime) reached(ctx context.Context) (reach, error) {
	way, _, err := r.known(ctx)
	return way, err
}

// known finds out, once, how backends are reached and confined.
func (r *Runtime) known(ctx context.Context) (reach, string, error) {
	r.mu.Lock()
	way, filter := r.reach, r.filter
	r.mu.Unlock()
	if way != unknown {
		return way, filter, nil
	}
	info, err := r.info(ctx)
	if err != nil {
		return unknown, "", err
	}
	if way, err = r.choose(info); err != nil {
		return unknown, "", err
	}
	if filter, err = r.choseFilter(ctx, info); err != nil {
		return unknown, "", err
	}
	if err := r.note(way); err != nil {
		return unknown, "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reach == unknown && way == bridged {
		r.log.Warn("backends reach what listens on this machine's own addresses, as only a drone that runs as root can close them")
	}
	if r.reach == unknown && way == published {
		r.log.Warn("this engine runs in a machine of its own: ports of backends are published on 127.0.0.1, where every program of this machine reaches them, and what backends reach isn't limited")
	}
	r.reach, r.filter = way, filter
	return way, filter, nil
}

// choseFilter is the list of system calls that the engine is given. Old engines
// have old lists, which let through what newer ones don't: io_uring, and sockets
// to the host of a virtual machine. A list that the engine's operator has chosen
// stays; so does that of what isn't a Docker engine, or doesn't use the kernel.
func (r *Runtime) choseFilter(ctx context.Context, info system.Info) (string, error) {
	usual := slices.ContainsFunc(info.SecurityOptions, func(o string) bool {
		return o == "name=seccomp,profile=default" || o == "name=seccomp,profile=builtin"
	})
	if !usual || !r.o.plain() {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	v, err := r.engine.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", r.silent(err)
	}
	if !slices.ContainsFunc(v.Components, func(c system.ComponentVersion) bool { return c.Name == "Engine" }) {
		return "", nil
	}
	return isolation.EngineFilter()
}

// note writes down the engine for the executioners where they can't signal
// containers themselves. One that isn't reached by a socket they can't ask.
func (r *Runtime) note(way reach) error {
	socket, unix := strings.CutPrefix(r.engine.DaemonHost(), "unix://")
	if way == inside || !unix {
		if err := os.Remove(r.o.Home.Engine()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return wrong("forget how containers were ended: %w", err)
		}
		return nil
	}
	if err := os.WriteFile(r.o.Home.Engine(), []byte(socket+"\n"), 0o600); err != nil {
		return wrong("write down where the Docker engine is: %w", err)
	}
	return nil
}

func (r *Runtime) choose(info system.Info) (reach, error) {
	host, err := url.Parse(r.engine.DaemonHost())
	afar := r.o.Afar || err != nil || host.Scheme != "unix" || goruntime.GOOS != "linux" || info.OperatingSystem == "Docker Desktop"
	way := r.o.local()
	if way == bridged && slices.Contains(info.SecurityOptions, "name=rootless") {
		afar = true // its bridges are in a network of its own
	}
	switch {
	case afar && r.o.Dev:
		return published, nil
	case afar:
		return unknown, errors.New("the containers of this Docker engine are not processes of this machine, or not in its network, so their deadlines can't be kept; run the drone where the engine runs and as root, or use plane dev")
	}
	return way, nil
}

// local is how backends are reached whose processes are those of this machine.
func (o Options) local() reach {
	if os.Geteuid() == 0 && o.plain() {
		return inside
	}
	return bridged
}

// plain reports whether containers use this machine's kernel. Others have a
// kernel or network stack of their own, whose loopback isn't that of the
// namespace.
func (o Options) plain() bool {
	return slices.Contains([]string{"", "runc", "crun", "youki", "nvidia", "io.containerd.runc.v2"}, o.EngineRuntime)
}

// Check says what is missing for backends to run here, a sentence for each
// thing; nil if nothing is.
func (r *Runtime) Check(ctx context.Context) error {
	info, err := r.info(ctx)
	if err != nil {
		return err
	}
	if info.OSType != "" && info.OSType != "linux" {
		return wrong("the Docker engine runs %s containers; Plane needs Linux containers", info.OSType)
	}
	var all []error
	if _, err := r.choose(info); err != nil {
		all = append(all, err)
	}
	if _, ok := info.Runtimes[r.o.EngineRuntime]; !ok && r.o.EngineRuntime != "" {
		all = append(all, wrong("the Docker engine has no runtime %q; install it and name it in the engine's daemon.json, or leave out --docker-runtime", r.o.EngineRuntime))
	}
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	for _, n := range r.o.Networks {
		if _, err := r.engine.NetworkInspect(ctx, n, client.NetworkInspectOptions{}); err != nil {
			all = append(all, wrong("the Docker engine has no network %q; make it with `docker network create %s`, or leave it out of --docker-networks", n, n))
		}
	}
	if r.o.MountBase != "" {
		if st, err := os.Stat(r.o.MountBase); err != nil || !st.IsDir() {
			all = append(all, wrong("the mount base %s is not a directory; make it, or leave out --mount-base", r.o.MountBase))
		}
	}
	return errors.Join(all...)
}

// silent is the sentence for an engine that doesn't answer.
func (r *Runtime) silent(err error) error {
	if answered(err) {
		return wrong("the Docker engine says: %s", says(err))
	}
	why := cause(err)
	if errors.Is(why, os.ErrPermission) || strings.Contains(err.Error(), "permission denied") {
		return wrong("the Docker engine at %s can't be used by this user (%w); add it to the group docker, or run as root", r.engine.DaemonHost(), why)
	}
	return wrong("the Docker engine at %s doesn't answer (%w); start it, or set DOCKER_HOST", r.engine.DaemonHost(), why)
}

// cause is what the network said, without the path of the request and the
// client's advice.
func cause(err error) error {
	var op *net.OpError
	var call *os.SyscallError
	var u *url.Error
	switch {
	case errors.As(err, &call):
		return call.Err
	case errors.As(err, &op):
		return op.Err
	case errors.As(err, &u):
		return u.Err
	}
	return err
}
