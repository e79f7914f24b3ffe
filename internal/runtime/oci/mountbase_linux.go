package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/runtime"
)

// data opens the directory that u sees as runtime.DataDir: its data, or its
// mount below the operator's base, and tells whether it was just made. nil = none.
func (r *Runtime) data(u runtime.Unit) (dir *os.File, fresh bool, err error) {
	m, err := plane.ParseMount(u.Executable.Mount)
	if err != nil {
		return nil, false, fmt.Errorf("mount %w", err)
	}
	wanted := m.ByKey || m.Path != ""
	switch {
	case u.Data != "" && wanted:
		return nil, false, errors.New("mount and the data of the app would both be at " + runtime.DataDir + "; leave one of them out")
	case u.Data != "":
		dir, err = os.Open(u.Data)
		if err != nil {
			return nil, false, fmt.Errorf("open data: %w", err)
		}
		return dir, u.DataNew, nil
	case !wanted:
		return nil, false, nil
	case r.opts.MountBase == "":
		r.log.Warn("the mount is left out: this drone has no --mount-base", "backend", u.Backend)
		return nil, false, nil
	}
	name := m.Path
	if m.ByKey {
		if u.Key.Name == "" {
			return nil, false, errors.New("mount is true, which needs a key; this backend has none")
		}
		name = u.Key.Hash()
	}
	return openMount(r.opts.MountBase, name)
}

// openMount opens a directory below base, and makes it if need be. No link that
// lies there leads out of it.
func openMount(base, name string) (dir *os.File, fresh bool, err error) {
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, false, fmt.Errorf("mount: the drone's --mount-base can't be used: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat(name); errors.Is(err, fs.ErrNotExist) {
		fresh = true
	}
	if err := root.MkdirAll(filepath.FromSlash(name), 0o755); err != nil {
		return nil, false, fmt.Errorf("mount %q: %w", name, err)
	}
	dir, err = root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, false, fmt.Errorf("mount %q: %w", name, err)
	}
	return dir, fresh, nil
}
