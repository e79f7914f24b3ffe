package docker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/runtime/datadir"
)

// pins has the mounts of pin.
func (o Options) pins() string { return filepath.Join(o.Home.Run, "pins") }

// pin shows a directory at a path of ours until release is called. An engine
// looks at a path after us, when a backend that has a directory above may have
// put a link to anywhere in its place; to look at what it has mounted comes too
// late. Nor can it be told of an open file: runc looks from another namespace.
// An engine that starts the container after release finds nothing there.
func (o Options) pin(id plane.BackendID, d *datadir.Dir) (path string, release func(), err error) {
	if os.Geteuid() != 0 {
		return "", nil, errors.New("spawn_config.executable.mount: a path of several names can be mounted only by a drone that runs as root; use one name, or true")
	}
	path = filepath.Join(o.pins(), string(id))
	unpin(path)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", nil, fmt.Errorf("make a place for the mount: %w", err)
	}
	fd, err := unix.OpenTree(int(d.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err == nil {
		err = errors.Join(
			unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}),
			unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH),
			unix.Close(fd))
	}
	if err != nil {
		unpin(path)
		return "", nil, fmt.Errorf("mount the directory for the engine: %w", err)
	}
	return path, func() { unpin(path) }, nil
}

// unpin removes such a mount and its place, if there are any. What the mount
// shows is left alone.
func unpin(path string) {
	for unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
	}
	_ = os.Remove(path)
}

// unpinAll removes those of an agent that was killed.
func (o Options) unpinAll() {
	all, _ := os.ReadDir(o.pins())
	for _, e := range all {
		unpin(filepath.Join(o.pins(), e.Name()))
	}
	_ = os.Remove(o.pins())
}
