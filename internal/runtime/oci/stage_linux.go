package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A stage is a mount namespace in which one container is launched: its file
// system is mounted there and nowhere else. The container's own namespace is a
// copy of it, so that all of the mounts (and the loop device of a disk) are gone
// when container and stage are, even if every part of the drone is killed
// meanwhile. It costs 0.2 ms; unshare(1) and mount(8) would cost 6.
type stage struct {
	ns     *os.File
	bundle string // where the bundle is, there
}

// newStage makes one. build makes its mounts; it runs on a thread that is in it.
func newStage(hide []string, build func(*stage) error) (*stage, error) {
	s := &stage{}
	err := aside(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("keep mounts from the host: %w", err)
		}
		for _, dir := range hide {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				return fmt.Errorf("hide %s: %w", dir, err)
			}
		}
		if build != nil {
			if err := build(s); err != nil {
				return err
			}
		}
		var err error
		s.ns, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// path is where others find the namespace while the stage is open.
func (s *stage) path() string {
	return filepath.Join("/proc", strconv.Itoa(os.Getpid()), "fd", strconv.Itoa(int(s.ns.Fd())))
}

// Close lets go of it.
func (s *stage) Close() { _ = s.ns.Close() }

// aside runs f on a thread of its own, which ends with it: f may leave the
// process's namespaces, working directory and root. It is never the main
// thread, whose namespaces others take for the process's.
func aside(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends with f, for which we wait
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		done <- aside(f) // another goroutine can't have this thread now
		runtime.UnlockOSThread()
	}()
	return <-done
}

// attach puts a copy of the mount at source over target: without devices and
// setuid, and with users as idmap says (nil = as they are). The target is the
// launcher's own, so no image's link is followed.
func attach(source, target string, idmap *os.File) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("show %s to a sandbox: %w", source, err)
	}
	defer unix.Close(tree)
	if err := restrict(tree, idmap); err != nil {
		return fmt.Errorf("show %s to a sandbox: %w", source, err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("show %s to a sandbox: %w", source, err)
	}
	return nil
}

// elsewhere shows a bundle, with all that is mounted in it, at a directory that
// everybody may reach: runc looks for it as the sandbox's root, which can't go
// through the drone's own directories. Of the stage alone.
func elsewhere(b bundle) (string, error) {
	place := ""
	for _, dir := range []string{"/mnt", "/media", "/srv", "/opt"} {
		if st, err := os.Stat(dir); err == nil && st.IsDir() && !strings.HasPrefix(b.dir, dir+"/") {
			place = dir
			break
		}
	}
	if place == "" {
		return "", errors.New("runc needs one of the directories /mnt, /media, /srv and /opt to be there; make one, or use crun")
	}
	if err := unix.Mount(b.dir, place, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("show the bundle to runc: %w", err)
	}
	return place, nil
}

// errNoIDMap: the file system can't show its files as belonging to others.
var errNoIDMap = errors.New("file system without mapping of users")

func restrict(tree int, idmap *os.File) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if idmap != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(idmap.Fd())
	}
	err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr)
	if idmap != nil && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)) {
		return errNoIDMap
	}
	return err
}
