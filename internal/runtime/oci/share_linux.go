package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"plane/internal/runtime"
	"plane/internal/runtime/datadir"
)

// shared are the drone's own directories that one backend sees.
//
// A directory of data belongs, on the disk, to the users that the image knows:
// its root's files are root's. The mount alone is shifted into the sandbox's
// users, so that data made under one runtime is right under another, and
// nothing is ever changed file by file. Where the file system can't do that
// (errNoIDMap), new data is given to the shifted user, and is this runtime's.
type shared struct {
	doors   *tree
	data    *tree
	dir     *datadir.Dir // that of data
	shifted int          // what is added to its owner on the disk
}

// share takes copies of what u sees. Nothing of them is seen by anybody until
// they are attached.
func (r *Runtime) share(h *host, u runtime.Unit) (*shared, error) {
	s := &shared{}
	err := r.shareDoors(s, u.Doors)
	if err == nil {
		err = r.shareData(h, s, u)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// shareDoors lets whatever user the image has go through: whoever else is on the
// machine can't come as far as there.
func (r *Runtime) shareDoors(s *shared, dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("show the socket to a sandbox: %w", err)
	}
	err := os.Chmod(filepath.Join(dir, filepath.Base(runtime.Socket)), 0o666)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("show the socket to a sandbox: %w", err)
	}
	t, err := copyTree(dir)
	if err != nil {
		return err
	}
	s.doors = &t
	return t.restrict(nil)
}

func (r *Runtime) shareData(h *host, s *shared, u runtime.Unit) (err error) {
	if s.dir, err = datadir.Open(u, r.opts.MountBase, r.log); err != nil || s.dir == nil {
		return err
	}
	t, err := copyTree(fmt.Sprintf("/proc/self/fd/%d", s.dir.Fd()))
	if err != nil {
		return err
	}
	s.data = &t
	if r.opts.NoUserNS {
		return t.restrict(nil)
	}
	err = t.restrict(h.idmap)
	if errors.Is(err, errNoIDMap) {
		s.shifted = shift
		err = t.restrict(nil)
	}
	return err
}

// attach puts them at places of the caller's, and tells what is to be bound where.
func (s *shared) attach(who user, place func(name string) string) ([]bind, error) {
	var all []bind
	if s.doors != nil {
		if err := s.doors.attach(place(doorsDir)); err != nil {
			return nil, err
		}
		all = append(all, bind{place(doorsDir), runtime.DoorsDir})
	}
	if s.data == nil {
		return all, nil
	}
	if s.dir.Fresh {
		if err := s.dir.Chown(int(who.uid)+s.shifted, int(who.gid)+s.shifted); err != nil {
			return nil, fmt.Errorf("give data to its user: %w", err)
		}
	}
	if err := s.data.attach(place(dataDir)); err != nil {
		return nil, err
	}
	return append(all, bind{place(dataDir), runtime.DataDir}), nil
}

func (s *shared) close() {
	for _, t := range []*tree{s.doors, s.data} {
		if t != nil {
			t.Close()
		}
	}
	if s.dir != nil {
		_ = s.dir.Close()
	}
}
