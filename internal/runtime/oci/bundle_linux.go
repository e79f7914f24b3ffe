package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"plane/internal/drone/home"
)

// What a bundle consists of.
const (
	rootDir  = "root"  // where its file system is mounted, in the launcher's namespace only
	writeDir = "write" // what it writes: upper and work of the overlay
	layerDir = "l"     // links to the layers, by short names: all must fit one page
	dataDir  = "data"
	doorsDir = "doors"
	etcDir   = "etc" // hosts, hostname, resolv.conf
	diskFile = "disk"
	pidFile  = "pid"
)

// A bundle is the directory of one backend or prepared sandbox.
type bundle struct{ dir string }

// hidden begins the names of what is no bundle in the directory of bundles.
const hidden = "."

func bundleOf(h home.Home, id string) bundle { return bundle{filepath.Join(h.Bundles(), id)} }

// stateDir is where crun or runc keep their notes.
func stateDir(h home.Home) string { return filepath.Join(h.Bundles(), hidden+"state") }

// filterDir has what was compiled.
func filterDir(h home.Home) string { return filepath.Join(h.Bundles(), hidden+"filters") }

func (b bundle) path(names ...string) string {
	return filepath.Join(append([]string{b.dir}, names...)...)
}

func (b bundle) exists() bool {
	_, err := os.Lstat(b.dir)
	return err == nil
}

// create makes an empty bundle over the layers.
func (b bundle) create(layers []string) error {
	for _, d := range []string{"", rootDir, writeDir, layerDir, dataDir, doorsDir, etcDir} {
		if err := os.MkdirAll(b.path(d), 0o755); err != nil {
			return fmt.Errorf("make bundle: %w", err)
		}
	}
	if err := os.Mkdir(b.path("empty"), 0o755); err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	for i, l := range layers {
		if err := os.Symlink(l, b.path(layerDir, fmt.Sprint(i))); err != nil {
			return fmt.Errorf("make bundle: %w", err)
		}
	}
	return nil
}

// overlay is the mount's option: relative to the bundle, the uppermost first.
func (b bundle) overlay(layers int) string {
	var lower []string
	for i := layers - 1; i >= 0; i-- {
		lower = append(lower, fmt.Sprintf("%s/%d", layerDir, i))
	}
	if layers < 1 {
		lower = append(lower, "empty")
	}
	return fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", strings.Join(lower, ":"), writeDir, writeDir)
}

// etc writes the files that every sandbox gets over the image's own. None of
// them tells of the host.
func (b bundle) etc(hostname, resolver string) error {
	hosts := "127.0.0.1\tlocalhost " + hostname + "\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	files := map[string]string{"hosts": hosts, "hostname": hostname + "\n", "resolv.conf": resolver}
	for name, text := range files {
		if err := writeFile(b.path(etcDir, name), []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

func (b bundle) etcBinds() []bind {
	var all []bind
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		all = append(all, bind{b.path(etcDir, name), "/etc/" + name})
	}
	return all
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

// remove deletes a bundle, whatever of it is there. Nothing of it may run.
func (b bundle) remove(h home.Home) error {
	id := filepath.Base(b.dir)
	removeGroups(containerGroup(h.Hash(), id))
	err := errors.Join(os.RemoveAll(filepath.Join(stateDir(h), id)), os.RemoveAll(b.dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove bundle of %s: %w", id, err)
	}
	return nil
}
