package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"plane/internal/drone/home"
)

// What a bundle consists of. It is little, because to make a file takes longer
// than to mount a file system: the rest is on the stage.
const (
	upperDir = "upper" // what it writes, unless that is on a disk of its own
	workDir  = "work"
	diskFile = "disk"
	specFile = "config.json"
	pidFile  = "pid"
)

// A bundle is the directory of one backend or prepared sandbox.
type bundle struct{ dir string }

// hidden begins the names of what is no bundle in the directory of bundles.
const hidden = "."

func bundleOf(h home.Home, id string) bundle { return bundle{filepath.Join(h.Bundles(), id)} }

// stateDir is where crun or runc keep their notes: in memory, like the table of
// deadlines, because both mean nothing after a reboot.
func stateDir(h home.Home) string {
	return filepath.Join(filepath.Dir(h.TableFile()), h.Hash()+".oci")
}

// filterDir has what was compiled.
func filterDir(h home.Home) string { return filepath.Join(h.Bundles(), hidden+"filters") }

func (b bundle) path(names ...string) string {
	return filepath.Join(append([]string{b.dir}, names...)...)
}

func (b bundle) exists() bool {
	_, err := os.Lstat(b.dir)
	return err == nil
}

// create makes an empty bundle.
func (b bundle) create() error {
	if err := os.Mkdir(b.dir, 0o700); errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(b.dir, 0o700)
		if err != nil {
			return fmt.Errorf("make bundle: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	return nil
}

// writeFile makes or overwrites a file in place, so that mounts of it see it.
func writeFile(path string, text []byte) error {
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// replaceFile puts a file there whole or not at all.
func replaceFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), hidden+"new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// container is the name by which crun or runc know it: that of the prepared
// sandbox, to which the bundle of a backend that took one is a link.
func (b bundle) container() string {
	if id, err := os.Readlink(b.dir); err == nil {
		return id
	}
	return filepath.Base(b.dir)
}

// spec reads its spec.
func (b bundle) spec() (*specs.Spec, error) {
	text, err := os.ReadFile(b.path(specFile))
	if err != nil {
		return nil, err
	}
	var s specs.Spec
	if err := json.Unmarshal(text, &s); err != nil || s.Process == nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	return &s, nil
}

// remove deletes a bundle, whatever of it is there. Nothing of it may run.
func (b bundle) remove(h home.Home) error {
	id := b.container()
	removeGroups(containerGroup(h.Hash(), id))
	err := errors.Join(os.RemoveAll(filepath.Join(stateDir(h), id)), os.RemoveAll(filepath.Join(h.Bundles(), id)), os.RemoveAll(b.dir))
	_ = os.Remove(stateDir(h)) // once it is empty; crun and runc make it
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove bundle of %s: %w", id, err)
	}
	return nil
}
