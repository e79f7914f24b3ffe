// Package volume keeps the data directories of backends: volumes, which belong
// to a key and outlive its backends, and scratch directories, which don't.
package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"plane"
	"plane/internal/drone/home"
)

// ErrInUse: a backend uses the volume.
var ErrInUse = errors.New("volume is in use")

// Shelf is where a drone's volumes stand.
type Shelf struct {
	home   home.Home
	quotas quotas

	mu   sync.Mutex     // guards the field below; held while a volume is put aside
	used map[string]int // by id, of volumes that backends have or will attach
}

// NewShelf makes a Shelf; directories are made when they are needed.
func NewShelf(h home.Home) *Shelf { return &Shelf{home: h, used: map[string]int{}} }

// Use is a wish for a volume.
type Use struct {
	ID         string
	New        bool // it may not be there yet
	Key        plane.Key
	Generation plane.Generation
}

// Hold keeps a volume from being put aside until Release.
func (s *Shelf) Hold(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[id]++
}

// Release ends one Hold.
func (s *Shelf) Release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[id]--; s.used[id] <= 0 {
		delete(s.used, id)
	}
}

var goodID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// Attach makes sure that a volume, which the caller holds, is there for a
// generation, and that no lower one gets it after that. It may be called twice.
// Only a new volume is made; an empty directory in place of one that is missing
// would be the loss of a document. Errors are sentences for people.
func (s *Shelf) Attach(u Use) (dir string, err error) {
	if !goodID.MatchString(u.ID) {
		return "", fmt.Errorf("the id %q of a volume has characters that no directory of Plane has", u.ID)
	}
	dir = s.home.Volume(u.ID)
	last, err := s.fence(u.ID)
	if err != nil {
		return "", err
	}
	if last > u.Generation {
		return "", fmt.Errorf("the data of key %s was already used by generation %d here; generation %d must not start with it", u.Key, last, u.Generation)
	}
	switch st, err := os.Lstat(dir); {
	case err == nil && !st.IsDir():
		return "", fmt.Errorf("%s is not a directory; the data of key %s must be one", dir, u.Key)
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the data of key %s can't be reached: %w", u.Key, err)
	case s.abandoned(u.ID):
		return "", fmt.Errorf("the data of key %s was given up and put aside in %s; connect again to begin with none", u.Key, s.home.Abandoned(u.ID))
	case !u.New || last > 0: // one with a fence was there, whatever the controller heard of it
		return "", missing(u.Key, dir)
	default:
		if err := makeDurable(dir); err != nil {
			return "", fmt.Errorf("make data directory: %w", err)
		}
	}
	if last < u.Generation {
		if err := s.raise(u.ID, u.Generation); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// abandoned reports whether a volume was put aside. If it is in its place all
// the same, a person brought it back.
func (s *Shelf) abandoned(id string) bool {
	_, err := os.Lstat(s.home.Abandoned(id))
	return err == nil
}

func missing(key plane.Key, dir string) error {
	return fmt.Errorf("the data directory of key %s, %s, is missing; an empty one in its place would be the loss of the data: bring it back, or give the data up with `plane data abandon %s`",
		key, dir, key)
}

// PutAside moves a volume to where abandoned ones lie; one that isn't there is
// no error, so that it may be asked twice. ErrInUse while one holds it.
func (s *Shelf) PutAside(id string) error {
	if !goodID.MatchString(id) {
		return nil // nothing of that name was ever made
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[id] > 0 {
		return ErrInUse
	}
	from, to := s.home.Volume(id), s.home.Abandoned(id)
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("put volume aside: %w", err)
	}
	for n, base := 2, to; ; n++ { // someone may have brought an abandoned one back, by a copy
		if _, err := os.Lstat(to); err != nil {
			break
		}
		to = fmt.Sprintf("%s.%d", base, n)
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("put volume aside: %w", err)
	}
	_ = os.Rename(fenceOf(from), fenceOf(to)) // without one nothing was ever attached
	return errors.Join(syncDir(filepath.Dir(from)), syncDir(filepath.Dir(to)))
}

// makeDurable makes a directory that survives a power cut.
func makeDurable(dir string) error {
	parent := filepath.Dir(dir)
	switch err := os.Mkdir(parent, 0o700); {
	case err == nil:
		if err := syncDir(filepath.Dir(parent)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
