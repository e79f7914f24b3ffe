package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"plane/internal/store"
)

// Lock keeps every DB of path closed until the file is closed, so that its
// files can be exchanged. ErrInUse if a process has it open.
func Lock(path string) (*os.File, error) { return lockFile(path) }

// Snapshot is DB.Backup for a database that another process may have open:
// SQLite's own locks let readers in beside its writer.
func Snapshot(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil {
		return explainFile(path, err)
	}
	return (&DB{path: path}).Backup(ctx, to)
}

// Read runs fn on a snapshot of a database that another process may have open.
// fn must not write. The schema may be an older one than this program's, so
// queries may fail.
func Read(ctx context.Context, path string, fn func(store.Tx) error) error {
	if _, err := os.Stat(path); err != nil {
		return explainFile(path, err)
	}
	r := newReaders(path, time.Now)
	return errors.Join(r.view(ctx, fn), r.close())
}

// Schema is the version of a database's schema, and the one that this program
// would migrate it to. A larger one is ErrNewer's.
func Schema(path string) (has, knows int64, err error) {
	if knows, err = latest(); err != nil {
		return 0, 0, err
	}
	if _, err := os.Stat(path); err != nil {
		return 0, knows, explainFile(path, err)
	}
	c, err := connect(path, "query_only(1)")
	if err != nil {
		return 0, knows, err
	}
	err = c.query("SELECT max(version_id) FROM goose_db_version WHERE is_applied", func(r *row) error {
		has = r.number()
		return nil
	})
	return has, knows, errors.Join(err, c.close())
}

// latest is the version of the last migration.
func latest() (int64, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, err
	}
	var most int64
	for _, name := range names {
		var v int64
		if _, err := fmt.Sscanf(name, "migrations/%d_", &v); err != nil {
			return 0, fmt.Errorf("migration %s has no number: %w", name, err)
		}
		most = max(most, v)
	}
	return most, nil
}

// QuickCheck looks through the whole file for damage. A database that another
// process has open can be checked too.
func QuickCheck(path string) error {
	if _, err := os.Stat(path); err != nil {
		return explainFile(path, err)
	}
	c, err := connect(path, "query_only(1)")
	if err != nil {
		return err
	}
	var found string
	err = c.query("PRAGMA quick_check(1)", func(r *row) error {
		found = r.text()
		return nil
	})
	if err == nil && found != "ok" {
		err = fmt.Errorf("%s is damaged: put back a backup of it: %s", path, found)
	}
	return errors.Join(err, c.close())
}
