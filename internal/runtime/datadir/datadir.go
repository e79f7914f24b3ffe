// Package datadir finds the directory that a backend sees as runtime.DataDir:
// the data of its app, or its mount below the operator's base.
package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"plane"
	"plane/internal/runtime"
)

// Dir is such a directory. It is open: whatever its path may mean later, this
// is the one.
type Dir struct {
	*os.File
	Path  string // absolute
	Fresh bool   // it was just made, and is to belong to the backend's user
	// Inner: backends that have a directory above may exchange what is at Path.
	Inner bool
}

// Open finds and, below the base, makes that of u; nil = it has none. The caller
// closes it. Errors are sentences.
func Open(u runtime.Unit, base string, log *slog.Logger) (*Dir, error) {
	m, err := plane.ParseMount(u.Executable.Mount)
	if err != nil {
		return nil, fmt.Errorf("spawn_config.executable.mount %w", err)
	}
	wanted := m.ByKey || m.Path != ""
	switch {
	case u.Data != "" && wanted:
		return nil, errors.New("spawn_config.executable.mount and the data of the app would both be at " + runtime.DataDir + "; leave one of them out")
	case u.Data != "":
		f, err := os.Open(u.Data)
		if err != nil {
			return nil, fmt.Errorf("open the data of the app: %w", err)
		}
		return &Dir{File: f, Path: u.Data, Fresh: u.DataNew}, nil
	case !wanted:
		return nil, nil
	case base == "":
		log.Warn("a backend asks for a mount, and this drone has no --mount-base: it starts without", "backend", u.Backend)
		return nil, nil
	case m.ByKey && u.Key.Name == "":
		return nil, errors.New("spawn_config.executable.mount is true, but the backend has no key; connect with one")
	case m.ByKey:
		m.Path = u.Key.Hash() // a name could mean something to the file system
	}
	return below(base, m.Path)
}

// below opens a directory below base. It never leaves base and never passes a
// symbolic link, which a backend that has the directory above could have put
// there, at any moment.
func below(base, path string) (_ *Dir, err error) {
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, fmt.Errorf("open the mount base: %w; see --mount-base", err)
	}
	defer func() { _ = root.Close() }()
	d := &Dir{Path: filepath.Join(base, filepath.FromSlash(path)), Inner: strings.Contains(path, "/")}
	for name := range strings.SplitSeq(path, "/") {
		inner, fresh, err := enter(root, name)
		if err != nil {
			return nil, fmt.Errorf("spawn_config.executable.mount: %s below the mount base: %w", path, err)
		}
		_ = root.Close()
		root, d.Fresh = inner, fresh
	}
	if d.File, err = root.Open("."); err != nil {
		return nil, fmt.Errorf("open the directory of the mount: %w", err)
	}
	return d, nil
}

// enter opens one directory in another, which it makes if need be.
func enter(root *os.Root, name string) (inner *os.Root, fresh bool, err error) {
	err = root.Mkdir(name, 0o755)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, err
	}
	fresh = err == nil
	seen, err := root.Lstat(name)
	if err != nil {
		return nil, false, err
	}
	if !seen.IsDir() {
		return nil, false, fmt.Errorf("%s is not a directory", name)
	}
	if inner, err = root.OpenRoot(name); err != nil {
		return nil, false, err
	}
	opened, err := inner.Stat(".")
	if err == nil && !os.SameFile(seen, opened) {
		err = fmt.Errorf("%s was exchanged", name)
	}
	if err != nil {
		_ = inner.Close()
		return nil, false, err
	}
	return inner, fresh, nil
}
