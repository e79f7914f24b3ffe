package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	sqlite "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// What is wrong with a database, for errors.Is. The errors that carry them say
// the file and the remedy.
var (
	ErrInUse      = errors.New("data directory in use")
	ErrPermission = errors.New("no permission")
	ErrDiskFull   = errors.New("disk full")
	ErrNotStore   = errors.New("not a database of Plane")
	ErrNewer      = errors.New("written by a newer Plane")
)

// explain adds to an error of SQLite what people can do about it.
func explain(path string, err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: free some space on the file system of %s: %w", ErrDiskFull, path, err)
	case lib.SQLITE_CANTOPEN, lib.SQLITE_PERM, lib.SQLITE_READONLY:
		return fmt.Errorf("%w to write %s or its directory: run as its owner or choose another data directory: %w", ErrPermission, path, err)
	case lib.SQLITE_NOTADB:
		return fmt.Errorf("%w: %s: move it away or choose another data directory: %w", ErrNotStore, path, err)
	case lib.SQLITE_CORRUPT:
		return fmt.Errorf("%s is damaged: put back a backup of it: %w", path, err)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return fmt.Errorf("%w: another program holds a lock on %s: end it and try again: %w", ErrInUse, path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// explainFile does the same for an error of the file system.
func explainFile(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("directory %s does not exist: make it or choose another data directory: %w", filepath.Dir(path), err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w to write %s: run as its owner or choose another data directory: %w", ErrPermission, path, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: free some space on the file system of %s: %w", ErrDiskFull, path, err)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%s is a directory, and the database must be a file: choose another path: %w", path, err)
	}
	return err
}
