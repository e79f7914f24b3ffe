package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/runtime"
	"plane/internal/runtime/isolation"
)

// build makes all of a container but the container: files, file system, spec.
func (r *Runtime) build(h *host, f *filter, b bundle, image *picture, u runtime.Unit) (*stage, error) {
	argv, err := image.argv(u.Executable)
	if err != nil {
		return nil, err
	}
	shown, err := r.share(h, u)
	if err != nil {
		return nil, err
	}
	defer shown.close()
	if err := b.create(); err != nil {
		return nil, err
	}
	s := r.sandbox(h, f, u.Executable, string(u.Backend))
	s.stop = image.config.StopSignal
	s.argv, s.dir = argv, image.dir(u.Executable)
	return newStage(h, b, func(at *stage) error {
		if err := r.mount(at, b, image.layers, u.Executable.Limits.DiskLimitBytes); err != nil {
			return err
		}
		if err := r.inhabit(at, &s, image, u); err != nil {
			return err
		}
		etc, err := at.etc(s.hostname, r.resolver(u.Egress))
		if err != nil {
			return err
		}
		binds, err := shown.attach(s.who, func(name string) string { return at.path(name) })
		if err != nil {
			return err
		}
		s.binds = append(etc, binds...)
		return writeSpec(b.dir, s.spec())
	})
}

// sandbox is one by that name, without its command.
func (r *Runtime) sandbox(h *host, f *filter, x plane.Executable, name string) sandbox {
	s := sandbox{
		hostname: name, readOnly: x.ReadOnly, limits: x.Limits,
		caps: r.opts.CapAdd, userNS: !r.opts.NoUserNS, tmpfs: r.opts.TmpfsSize, filter: f,
	}
	if s.limits.PidsLimit == nil && r.counts(h) {
		s.pids = isolation.Pids
	}
	if h.runc {
		s.groups = containerGroup(r.opts.Home.Hash(), name)
	}
	return s
}

// counts reports whether processes are counted per sandbox without a cgroup,
// which costs nothing. Kernels do that per user of a user namespace; older ones
// take all sandboxes' users of one number for the same.
func (r *Runtime) counts(h *host) bool { return !r.opts.NoUserNS && h.ownCounts }

// limits are those that a cgroup is to keep.
func (r *Runtime) limits(h *host, l plane.ResourceLimits) plane.ResourceLimits {
	if l.PidsLimit == nil && !r.counts(h) {
		n := int64(isolation.Pids)
		l.PidsLimit = &n
	}
	return l
}

// user is whom an executable runs as.
func (r rootfs) user(x plane.Executable, image *picture) (user, error) {
	return resolve(userWord(x, image), r.read("/etc/passwd"), r.read("/etc/group"))
}

// inhabit finds in the image whom and what to run.
func (r *Runtime) inhabit(at *stage, s *sandbox, image *picture, u runtime.Unit) error {
	s.root = at.path(rootDir)
	root, err := openRootfs(s.root)
	if err != nil {
		return err
	}
	defer root.Close()
	if s.who, err = root.user(u.Executable, image); err != nil {
		return err
	}
	if err := root.mkdir(s.dir, r.owner(0)); err != nil {
		return fmt.Errorf("working directory %s of image %s: %w", s.dir, image.name, err)
	}
	s.env = image.environment(append(u.Env[:len(u.Env):len(u.Env)], r.mark(u.Backend)), s.who, s.hostname)
	return root.program(image.name, s.argv[0], s.dir, value(s.env, "PATH"))
}

// owner is the host's number of a sandbox's user.
func (r *Runtime) owner(uid uint32) int {
	if r.opts.NoUserNS {
		return int(uid)
	}
	return shift + int(uid)
}

// mount lays a file system of the backend's own over the image's layers, of
// which the first is the lowest.
func (r *Runtime) mount(at *stage, b bundle, layers []string, limit *int64) error {
	size := r.opts.DefaultDisk
	if limit != nil {
		size = *limit
	}
	upper, work := upperDir, workDir // relative, so that no character of the path means anything
	if size > 0 {
		if err := b.disk(at.path(diskDir), size, r.owner(0)); err != nil {
			return err
		}
		upper, work = at.path(diskDir, upperDir), at.path(diskDir, workDir)
	}
	lower := at.path(etcDir) // an image without layers: there is nothing in it yet
	for i, layer := range layers {
		link := at.path(layerDir, strconv.Itoa(i))
		if err := os.Symlink(layer, link); err != nil {
			return fmt.Errorf("make layer: %w", err)
		}
		if i == 0 {
			lower = link
			continue
		}
		lower = link + ":" + lower
	}
	if err := unix.Chdir(b.dir); err != nil { // of this thread alone
		return fmt.Errorf("make layer: %w", err)
	}
	for _, d := range []string{upper, work} {
		if err := unix.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("make layer: %w", err)
		}
	}
	if err := unix.Chown(upper, r.owner(0), r.owner(0)); err != nil {
		return fmt.Errorf("make layer: %w", err)
	}
	// volatile: nothing of the layer outlives the backend, so it need not be
	// brought to the disk.
	options := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	err := unix.Mount("overlay", at.path(rootDir), "overlay", unix.MS_NODEV, options+",volatile")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("overlay", at.path(rootDir), "overlay", unix.MS_NODEV, options)
	}
	if err != nil {
		return fmt.Errorf("the image's layers could not be put together (overlay): %w", err)
	}
	return nil
}
