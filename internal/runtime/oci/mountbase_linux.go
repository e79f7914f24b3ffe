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

// newMount is the name of a directory that was just made for a mount.
const newMount = "new mount"

// data opens the directory that u sees as runtime.DataDir: its data, or its
// mount below the operator's base. nil = none.
func (r *Runtime) data(u runtime.Unit) (*os.File, error) {
	m, err := plane.ParseMount(u.Executable.Mount)
	if err != nil {
		return nil, fmt.Errorf("mount %w", err)
	}
	wanted := m.ByKey || m.Path != ""
	switch {
	case u.Data != "" && wanted:
		return nil, errors.New("mount and the data of the app would both be at " + runtime.DataDir + "; leave one of them out")
	case u.Data != "":
		return openDir(u.Data, u.Data)
	case !wanted:
		return nil, nil
	case r.opts.MountBase == "":
		r.log.Warn("the mount is left out: this drone has no --mount-base", "backend", u.Backend)
		return nil, nil
	}
	name := m.Path
	if m.ByKey {
		if u.Key.Name == "" {
			return nil, errors.New("mount is true, which needs a key; this backend has none")
		}
		name = u.Key.Hash()
	}
	return openMount(r.opts.MountBase, name)
}

// openMount opens a directory below base, and makes it if need be. No link that
// lies there leads out of it.
func openMount(base, name string) (*os.File, error) {
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, fmt.Errorf("mount: the drone's --mount-base can't be used: %w", err)
	}
	defer root.Close()
	label := name
	if _, err := root.Stat(name); errors.Is(err, fs.ErrNotExist) {
		label = newMount
	}
	if err := root.MkdirAll(filepath.FromSlash(name), 0o755); err != nil {
		return nil, fmt.Errorf("mount %q: %w", name, err)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("mount %q: %w", name, err)
	}
	defer f.Close()
	return openDir(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), label)
}

func openDir(path, label string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open data: %w", err)
	}
	return os.NewFile(uintptr(fd), label), nil
}
