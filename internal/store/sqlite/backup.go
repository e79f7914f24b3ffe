package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Backup writes a snapshot of the database, no older than the last Update that
// returned, to a new file at path (mode 0600), and returns when it is durable.
// An existing file is replaced in one step. Readers and writers go on. ctx is
// looked at only before it starts.
func (db *DB) Backup(ctx context.Context, path string) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".plane-backup-*") // mode 0600
	if err != nil {
		return fmt.Errorf("back up: %w", explainFile(path, err))
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(fmt.Errorf("back up: %w", err), os.Remove(f.Name()))
		}
	}()
	c, err := connect(db.path)
	if err != nil {
		return err
	}
	_, err = c.exec("VACUUM INTO ?", f.Name()) // takes an empty file
	err = errors.Join(err, c.close())
	if errors.Is(err, ErrDiskFull) { // where it is written, not where it is read
		return fmt.Errorf("%w: free some space on the file system of %s", ErrDiskFull, path)
	}
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return explainFile(path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return explainFile(path, err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
