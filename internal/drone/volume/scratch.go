package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"plane"
)

// Scratch makes the scratch directory of a backend; one that is there is kept.
func (s *Shelf) Scratch(id plane.BackendID) (dir string, err error) {
	dir = s.home.Scratch(id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make scratch directory: %w", err)
	}
	return dir, nil
}

// Scratches lists the backends that have a scratch directory.
func (s *Shelf) Scratches() []plane.BackendID {
	entries, _ := os.ReadDir(filepath.Dir(s.home.Scratch("x"))) // where there is none there is no directory
	ids := make([]plane.BackendID, 0, len(entries))
	for _, e := range entries {
		ids = append(ids, plane.BackendID(e.Name()))
	}
	return ids
}

// Drop removes the scratch directory of a backend, of which nothing may run.
func (s *Shelf) Drop(id plane.BackendID) error {
	dir := s.home.Scratch(id)
	if s.ability() != cannot {
		_ = s.Bound(dir, 0) // so that its number may be drawn again
	}
	err := os.RemoveAll(dir)
	if errors.Is(err, fs.ErrPermission) {
		// Its owner is us, but it took the right to write from itself.
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil //nolint:nilerr // what can't be looked at shows when it is removed
		})
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("remove scratch directory: %w", err)
	}
	return nil
}
