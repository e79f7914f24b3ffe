package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"plane/internal/drone/means"
)

// A stage is a mount namespace in which one container is launched: its file
// system is mounted there and nowhere else. The container's own namespace is a
// copy of it, so that all of the mounts (and the loop device of a disk) are gone
// when container and stage are, even if every part of the drone is killed
// meanwhile. It costs 0.2 ms; unshare(1) and mount(8) would cost 6.
type stage struct {
	ns    *os.File
	place string // a directory in memory, seen only there; everybody may go through it
}

// What is in the place of a stage.
const (
	rootDir  = "root"  // the container's file system
	layerDir = "l"     // links to its layers, by short names: all of them must fit one page
	diskDir  = "write" // a disk of its own for what it writes
	dataDir  = "data"
	doorsDir = "doors"
	etcDir   = "etc" // hosts, hostname, resolv.conf
)

// newStage makes one for b. build makes its mounts; it runs on a thread that is
// in it.
func newStage(h *host, b bundle, build func(*stage) error) (*stage, error) {
	s := &stage{}
	err := means.Aside(func() error {
		if err := enterCopy(h); err != nil {
			return err
		}
		if err := s.furnish(b); err != nil {
			return err
		}
		if err := build(s); err != nil {
			return err
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

// enterCopy brings this thread into a copy of its mount namespace, as the
// launcher wants it: without cgroup2 where that is to be hidden, and with the
// launcher's own file where nothing can write to it.
func enterCopy(h *host) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keep mounts from the host: %w", err)
	}
	for _, dir := range h.hide {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	if h.runc {
		return nil
	}
	// crun would do the same for itself, a file and a second start of its own later:
	// see sealed.
	err := unix.Mount(h.launcher, h.launcher, "", unix.MS_BIND, "")
	if err == nil {
		err = unix.Mount("", h.launcher, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err != nil {
		return fmt.Errorf("seal %s: %w", h.launcher, err)
	}
	return nil
}

// places are where a stage may be.
var places = []string{"/mnt", "/media", "/srv", "/opt"}

// furnish chooses the place. It hides what is there on the host, so the bundle
// must be elsewhere.
func (s *stage) furnish(b bundle) error {
	for _, dir := range places {
		if st, err := os.Stat(dir); err == nil && st.IsDir() && !strings.HasPrefix(b.dir, dir+"/") {
			s.place = dir
			break
		}
	}
	if s.place == "" {
		return errors.New("the oci runtime needs an empty directory to mount things at, unseen by others; make /mnt")
	}
	if err := unix.Mount("tmpfs", s.place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("mount at %s: %w", s.place, err)
	}
	for _, d := range []string{rootDir, layerDir, diskDir, dataDir, doorsDir, etcDir} {
		if err := os.Mkdir(s.path(d), 0o755); err != nil {
			return fmt.Errorf("make %s: %w", s.path(d), err)
		}
	}
	return nil
}

func (s *stage) path(names ...string) string {
	return filepath.Join(append([]string{s.place}, names...)...)
}

// etcFiles are those that every sandbox gets over the image's own. None of them
// tells of the host.
func etcFiles(hostname, resolver string) map[string]string {
	return map[string]string{
		"hosts":       "127.0.0.1\tlocalhost " + hostname + "\n::1\tlocalhost ip6-localhost ip6-loopback\n",
		"hostname":    hostname + "\n",
		"resolv.conf": resolver,
	}
}

// etc writes them.
func (s *stage) etc(hostname, resolver string) ([]bind, error) {
	var all []bind
	for name, text := range etcFiles(hostname, resolver) {
		if err := writeFile(s.path(etcDir, name), []byte(text)); err != nil {
			return nil, err
		}
		all = append(all, bind{s.path(etcDir, name), "/etc/" + name})
	}
	return all, nil
}

// name is where others find the namespace while the stage is open.
func (s *stage) name() string {
	return filepath.Join("/proc", strconv.Itoa(os.Getpid()), "fd", strconv.Itoa(int(s.ns.Fd())))
}

// Close lets go of it.
func (s *stage) Close() { _ = s.ns.Close() }

// A tree is a copy of a mount of the host that isn't attached anywhere yet. It
// is taken before a stage is entered, from where the host's can't be copied.
type tree struct{ fd int }

func copyTree(source string) (tree, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return tree{}, fmt.Errorf("show %s to a sandbox: %w", source, err)
	}
	return tree{fd}, nil
}

// Close drops what wasn't attached.
func (t tree) Close() { _ = unix.Close(t.fd) }

// attach puts it over target. The target is the launcher's own, or nothing of
// an image runs there yet.
func (t tree) attach(target string) error {
	if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("show a directory to a sandbox: %w", err)
	}
	return nil
}

// errNoIDMap: the file system can't show its files as belonging to others.
var errNoIDMap = errors.New("file system without mapping of users")

// restrict takes devices and setuid from it, and shows its files as those of the
// users that idmap says (nil = as they are).
func (t tree) restrict(idmap *os.File) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if idmap != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(idmap.Fd())
	}
	err := unix.MountSetattr(t.fd, "", unix.AT_EMPTY_PATH, &attr)
	if idmap != nil && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)) {
		return errNoIDMap
	}
	if err != nil {
		return fmt.Errorf("show a directory to a sandbox: %w", err)
	}
	return nil
}
