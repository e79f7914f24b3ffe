package docker

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"plane/internal/runtime"
	"plane/internal/runtime/datadir"
)

// mounted are the directories that a backend sees.
type mounted struct {
	mounts []mount.Mount
	data   *datadir.Dir // what is at runtime.DataDir must be this one; nil = none
	unpin  func()       // see Options.pin; nil = not pinned
}

func (m mounted) close() {
	if m.data != nil {
		_ = m.data.Close()
	}
	if m.unpin != nil {
		m.unpin()
	}
}

func bind(source, target string) mount.Mount {
	return mount.Mount{Type: mount.TypeBind, Source: source, Target: target, BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate}}
}

// mounts makes what the executable wants mounted.
func (r *Runtime) mounts(u runtime.Unit, way reach) (m mounted, err error) {
	if u.Doors != "" {
		// By the Mounts API, which doesn't make a source that isn't there: without
		// this directory the container can't start, and it is only there while the
		// start is wanted.
		door := bind(u.Doors, runtime.DoorsDir)
		door.ReadOnly = true
		m.mounts = append(m.mounts, door)
	}
	if m.data, err = datadir.Open(u, r.o.MountBase, r.log); err != nil || m.data == nil {
		return m, err
	}
	source := m.data.Path
	if m.data.Inner && way != published {
		if source, m.unpin, err = r.o.pin(u.Backend, m.data); err != nil {
			return m, err
		}
	}
	m.mounts = append(m.mounts, bind(source, runtime.DataDir))
	return m, nil
}

// seen reports whether a container's first process has them. One that has ended
// already has none.
func (m mounted) seen(pid int) bool {
	if m.data == nil {
		return true
	}
	at, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root", runtime.DataDir))
	if err != nil {
		return true
	}
	want, err := m.data.Stat()
	return err == nil && os.SameFile(at, want)
}

// give gives new data to the user that the image runs as. The engine has made
// the container, not started it.
func (r *Runtime) give(ctx context.Context, m mounted, id string) error {
	if m.data == nil || !m.data.Fresh || os.Geteuid() != 0 {
		return nil
	}
	found, err := r.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return r.engineRefuses(err)
	}
	if found.Container.Config == nil || found.Container.Config.User == "" {
		return nil
	}
	user := found.Container.Config.User
	uid, gid, err := r.account(ctx, id, user)
	if err != nil {
		return err
	}
	if err := m.data.Chown(uid, gid); err != nil {
		return wrong("give the data directory to user %s: %w", user, err)
	}
	return nil
}
