package means

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"plane"
)

// Place makes a guest begin in the backend's cgroup of version 2, in one of its
// own below it. done is to be called once it has begun, or hasn't. There is
// nothing to do where there are no cgroups.
func (g *Guest) Place(sys *syscall.SysProcAttr) (done func(), err error) {
	if g.m.groups == nil || !g.of.grouped() || g.of.Engine {
		return func() {}, nil
	}
	// Not MkdirAll: a backend whose cgroup has been removed has ended.
	dir := filepath.Join(g.m.groups.of(g.of.directory()), g.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		_ = os.Remove(dir)
		return nil, err
	}
	g.mu.Lock()
	g.leaf = true
	g.mu.Unlock()
	sys.UseCgroupFD, sys.CgroupFD = true, int(f.Fd())
	return func() { _ = f.Close() }, nil
}

// Vanished reports whether an error of Place, or of the start that follows,
// says that the backend has ended meanwhile.
func Vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// joinScript has a shell enter those cgroups of version 1 that the backend is
// in and we aren't: its limits are there.
func joinScript(pid int) string { return PlaceOf(pid).Beyond(PlaceOf(os.Getpid())).Join() }

// guests lists the cgroups of guests.
func (g *groups) guests() (all []guestGroup) {
	for _, id := range g.children() {
		entries, _ := os.ReadDir(g.of(id))
		for _, e := range entries {
			if _, ok := agentOf(e.Name()); ok && e.IsDir() {
				all = append(all, guestGroup{plane.BackendID(path.Join(string(id), e.Name())), e.Name()})
			}
		}
	}
	return all
}
