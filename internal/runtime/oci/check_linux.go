package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"plane/internal/runtime/isolation"
)

// Check says what is missing for sandboxes to run here, a sentence for each
// thing; nil if nothing is.
func (r *Runtime) Check(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("the oci runtime must run as root, because it mounts file systems; run the drone as root, or use the docker runtime")
	}
	h, err := look(ctx, r.opts.Runtime)
	if err != nil {
		return errors.Join(err, capable())
	}
	defer h.close()
	return errors.Join(
		capable(),
		r.users(h),
		kernel("overlay", "the kernel has no overlay file system, which images are laid with; load the module overlay"),
		filters(),
		h.controllers(),
		h.staged(),
		r.base(),
		isolation.CheckCapabilities(r.opts.CapAdd),
	)
}

// About tells in a few words what this machine has.
func (r *Runtime) About(ctx context.Context) string {
	h, err := look(ctx, r.opts.Runtime)
	if err != nil {
		return err.Error()
	}
	defer h.close()
	users := "own users"
	if r.opts.NoUserNS {
		users = "the host's users"
	}
	return fmt.Sprintf("%s at %s, %s, cgroups %s", h.version, h.launcher, users, h.cgroups)
}

// Lacks says what only some executables need and isn't here, a sentence for
// each thing; nil if nothing is.
func (r *Runtime) Lacks(ctx context.Context) error {
	h, err := look(ctx, r.opts.Runtime)
	if err != nil {
		return nil // which Check says
	}
	defer h.close()
	var all []error
	if h.cgroups == "v1" {
		all = append(all, errors.New("resource_limits need cgroups of version 2, be it without controllers; mount them: mount -t cgroup2 none /sys/fs/cgroup/unified"))
	}
	if _, err := find("mkfs.ext4"); err != nil {
		all = append(all, errors.New("disk_limit_bytes needs mkfs.ext4, which is missing; install e2fsprogs"))
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		all = append(all, errors.New("disk_limit_bytes needs loop devices, and there is no /dev/loop-control; load the module loop"))
	}
	return errors.Join(all...)
}

func capable() error {
	var header unix.CapUserHeader
	var data [2]unix.CapUserData
	header.Version = unix.LINUX_CAPABILITY_VERSION_3
	if err := unix.Capget(&header, &data[0]); err != nil || data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return errors.New("the oci runtime may not mount here, though it is root (no CAP_SYS_ADMIN); run the drone outside a container, or in a privileged one")
	}
	return nil
}

// kernel looks for a file system. Most kernels load its module when it is used.
func kernel(name, missing string) error {
	known := func() bool {
		b, err := os.ReadFile("/proc/filesystems")
		return err != nil || slices.Contains(strings.Fields(string(b)), name)
	}
	if known() {
		return nil
	}
	if fd, err := unix.Fsopen(name, unix.FSOPEN_CLOEXEC); err == nil { // loads it
		_ = unix.Close(fd)
		return nil
	}
	return errors.New(missing)
}

func filters() error {
	b, err := os.ReadFile("/proc/self/status")
	if err == nil && !strings.Contains(string(b), "\nSeccomp:") {
		return errors.New("the kernel can't filter system calls (CONFIG_SECCOMP_FILTER), which sandboxes need; use another kernel")
	}
	return nil
}

func (h *host) controllers() error {
	if h.cgroups == "none" {
		return errors.New("no cgroups are mounted, so that limits can't be set and backends not be killed as a whole; mount cgroup2 at /sys/fs/cgroup")
	}
	return nil
}

// staged tries what every start does.
func (h *host) staged() error {
	s, err := newStage(h, bundle{os.TempDir()}, func(*stage) error { return nil })
	if err != nil {
		return err
	}
	s.Close()
	return nil
}

func (r *Runtime) base() error {
	if r.opts.MountBase == "" {
		return nil
	}
	if st, err := os.Stat(r.opts.MountBase); err != nil || !st.IsDir() {
		return fmt.Errorf("the mount base %s is not a directory; make it, or leave out --mount-base", r.opts.MountBase)
	}
	return nil
}
