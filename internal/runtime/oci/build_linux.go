package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"plane/internal/runtime"
)

// build makes all of a container but the container: files, file system, spec.
func (r *Runtime) build(h *host, f *filter, b bundle, image *picture, u runtime.Unit) (*stage, error) {
	if err := b.create(image.layers); err != nil {
		return nil, err
	}
	hostname := string(u.Backend)
	if err := b.etc(hostname, ""); err != nil {
		return nil, err
	}
	argv, err := image.argv(u.Executable)
	if err != nil {
		return nil, err
	}
	data, err := r.data(u)
	if err != nil {
		return nil, err
	}
	if data != nil {
		defer data.Close()
	}
	s := sandbox{
		hostname: hostname, argv: argv, dir: image.dir(u.Executable), readOnly: u.Executable.ReadOnly,
		limits: u.Executable.Limits, caps: r.opts.CapAdd, userNS: !r.opts.NoUserNS, tmpfs: r.opts.TmpfsSize, filter: f,
		binds: b.etcBinds(),
	}
	if h.runc {
		s.groups = containerGroup(r.opts.Home.Hash(), string(u.Backend))
	}
	return newStage(h.hide, func(at *stage) error {
		if err := r.mount(b, len(image.layers), u.Executable.Limits.DiskLimitBytes); err != nil {
			return err
		}
		root, err := openRootfs(b.path(rootDir))
		if err != nil {
			return err
		}
		defer root.Close()
		word := u.Executable.User
		if word == "" {
			word = image.config.User
		}
		if s.who, err = resolve(word, root.read("/etc/passwd"), root.read("/etc/group")); err != nil {
			return err
		}
		if err := root.mkdir(s.dir, r.owner(0)); err != nil {
			return fmt.Errorf("working directory %s of image %s: %w", s.dir, image.name, err)
		}
		s.env = image.environment(append(u.Env[:len(u.Env):len(u.Env)], r.mark(u.Backend)), s.who, hostname)
		if err := root.program(image.name, argv[0], s.dir, value(s.env, "PATH")); err != nil {
			return err
		}
		binds, err := r.show(h, b, u, data, s.who)
		if err != nil {
			return err
		}
		s.binds = append(s.binds, binds...)
		if err := writeSpec(b.dir, s.spec()); err != nil {
			return err
		}
		at.bundle = b.dir
		if h.runc {
			at.bundle, err = elsewhere(b)
		}
		return err
	})
}

// owner is the host's number of a sandbox's user.
func (r *Runtime) owner(uid uint32) int {
	if r.opts.NoUserNS {
		return int(uid)
	}
	return shift + int(uid)
}

// mount lays a file system of the backend's own over the image's.
func (r *Runtime) mount(b bundle, layers int, limit *int64) error {
	size := r.opts.DefaultDisk
	if limit != nil {
		size = *limit
	}
	if size > 0 {
		if err := b.disk(size, r.owner(0)); err != nil {
			return err
		}
	}
	for _, d := range []string{"upper", "work"} {
		if err := os.Mkdir(b.path(writeDir, d), 0o755); err != nil {
			return fmt.Errorf("make layer: %w", err)
		}
	}
	if err := os.Chown(b.path(writeDir, "upper"), r.owner(0), r.owner(0)); err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	if err := unix.Chdir(b.dir); err != nil { // of this thread alone
		return fmt.Errorf("make layer: %w", err)
	}
	// volatile: nothing of the layer outlives the backend, so it need not be
	// brought to the disk.
	options := b.overlay(layers)
	err := unix.Mount("overlay", rootDir, "overlay", unix.MS_NODEV, options+",volatile")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("overlay", rootDir, "overlay", unix.MS_NODEV, options)
	}
	if err != nil {
		return fmt.Errorf("the image's layers could not be put together (overlay): %w", err)
	}
	return nil
}

// show attaches the drone's own directories where the container takes them from.
//
// A directory of data belongs, on the disk, to the users that the image knows:
// its root's files are root's. The mount alone is shifted into the sandbox's
// users, so that data made under one runtime is right under another, and
// nothing is ever changed file by file. Where the file system can't do that
// (errNoIDMap) new data is given to the shifted user, and stays this runtime's.
func (r *Runtime) show(h *host, b bundle, u runtime.Unit, data *os.File, who user) ([]bind, error) {
	var all []bind
	if u.Doors != "" {
		if err := openDoors(u.Doors); err != nil {
			return nil, err
		}
		if err := attach(u.Doors, b.path(doorsDir), nil); err != nil {
			return nil, err
		}
		all = append(all, bind{b.path(doorsDir), runtime.DoorsDir})
	}
	if data == nil {
		return all, nil
	}
	if err := r.attachData(h, data, b.path(dataDir), u.DataNew || data.Name() == newMount, who); err != nil {
		return nil, err
	}
	return append(all, bind{b.path(dataDir), runtime.DataDir}), nil
}

// attachData puts a backend's data over target, a directory of its own.
func (r *Runtime) attachData(h *host, data *os.File, target string, fresh bool, who user) error {
	source := fmt.Sprintf("/proc/self/fd/%d", data.Fd())
	idmap := h.idmap
	if r.opts.NoUserNS {
		idmap = nil
	}
	err := attach(source, target, idmap)
	owner, group := int(who.uid), int(who.gid)
	if errors.Is(err, errNoIDMap) {
		owner, group = r.owner(who.uid), r.owner(who.gid)
		err = attach(source, target, nil)
	}
	if err == nil && fresh {
		err = data.Chown(owner, group)
	}
	return err
}

// openDoors lets whatever user the image has go through: whoever else is on the
// machine can't come as far as here.
func openDoors(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("show the socket to a sandbox: %w", err)
	}
	err := os.Chmod(dir+"/socket", 0o666)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
