package docker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"plane"
	"plane/internal/runtime"
)

// mounted are the directories that a backend sees.
type mounted struct {
	mounts []mount.Mount
	// of a mount below the base: what is at runtime.DataDir must be this
	// directory, whatever its path may mean by then.
	data os.FileInfo
}

func bind(source, target string) mount.Mount {
	return mount.Mount{Type: mount.TypeBind, Source: source, Target: target, BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate}}
}

// mounts makes what the executable wants mounted.
func (r *Runtime) mounts(u runtime.Unit) (mounted, error) {
	var m mounted
	if u.Doors != "" {
		// By the Mounts API, which doesn't make a source that isn't there: without
		// this directory the container can't start, and it is only there while the
		// start is wanted.
		door := bind(u.Doors, runtime.DoorsDir)
		door.ReadOnly = true
		m.mounts = append(m.mounts, door)
	}
	want, err := plane.ParseMount(u.Executable.Mount)
	if err != nil {
		return m, wrong("spawn_config.executable.mount %w", err)
	}
	data := u.Data
	if want.ByKey || want.Path != "" {
		if r.o.MountBase == "" {
			r.log.Warn("a backend asks for a mount, and this drone has no --mount-base: it starts without", "backend", u.Backend)
		} else if data, m.data, err = below(r.o.MountBase, want, u.Key); err != nil {
			return m, err
		}
	}
	if data != "" {
		m.mounts = append(m.mounts, bind(data, runtime.DataDir))
	}
	return m, nil
}

// below makes the directory of a mount. Names of keys are hashed, so that none
// means anything to the file system; paths never leave the base and never pass
// a symbolic link, which a backend that has the directory above could have put
// there.
func below(base string, want plane.Mount, key plane.Key) (string, os.FileInfo, error) {
	path := want.Path
	if want.ByKey {
		if key.Name == "" {
			return "", nil, errors.New("spawn_config.executable.mount is true, but the backend has no key; connect with one")
		}
		path = key.Hash()
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return "", nil, wrong("open the mount base: %w", err)
	}
	defer root.Close()
	walked := ""
	var at os.FileInfo
	for name := range strings.SplitSeq(path, "/") {
		walked = filepath.Join(walked, name)
		if err := root.Mkdir(walked, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return "", nil, wrong("make the directory of the mount: %w", err)
		}
		if at, err = root.Lstat(walked); err != nil {
			return "", nil, wrong("make the directory of the mount: %w", err)
		}
		if !at.IsDir() {
			return "", nil, wrong("spawn_config.executable.mount: %s below the mount base is not a directory", walked)
		}
	}
	return filepath.Join(root.Name(), path), at, nil
}

// belongs gives new data to the user that the image runs as. The engine has
// made the container, not started it.
func (r *Runtime) belongs(ctx context.Context, u runtime.Unit, container, user string) error {
	if !u.DataNew || u.Data == "" || user == "" || os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := r.account(ctx, container, user)
	if err != nil {
		return err
	}
	if err := os.Chown(u.Data, uid, gid); err != nil {
		return wrong("give the data directory to user %s: %w", user, err)
	}
	return nil
}
