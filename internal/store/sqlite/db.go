// Package sqlite is the store in one SQLite file, for one controller process.
//
// All writes go through one goroutine, which runs the waiting closures in one
// transaction, each in a savepoint of its own, and makes them durable with one
// flush of the log. Reads have their own connections and never wait for writes.
package sqlite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
)

// Options of a database; the zero value will do.
type Options struct {
	Log *slog.Logger     // nil = none
	Now func() time.Time // the database's clock; nil = time.Now

	Metrics *Metrics // nil = nothing is counted
}

// DB is an open database. It implements store.Store and store.Exclusive.
type DB struct {
	path   string
	lock   *os.File
	writer *writer
	flush  *checkpointer
	read   *readers

	metrics *Metrics

	closing sync.Once
	err     error // of closing
}

var (
	_ store.Store     = (*DB)(nil)
	_ store.Exclusive = (*DB)(nil)
)

// Open opens the database file at path, creates it (mode 0600) if there is
// none, and migrates it. Only one process may have it open: ErrInUse. The other
// errors of this package say in a sentence what to do. It starts two goroutines
// whose end Close waits for.
func Open(ctx context.Context, path string, opts Options) (*DB, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	db, err := open(ctx, path, lock, opts)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	return db, nil
}

func open(ctx context.Context, path string, lock *os.File, opts Options) (_ *DB, err error) {
	// SQLite gives its other files the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explainFile(path, err)
	}
	f.Close()
	if err := migrate(ctx, path); err != nil {
		return nil, err
	}
	db := &DB{path: path, lock: lock, metrics: opts.Metrics}
	if db.flush, err = newCheckpointer(path, opts.Log); err != nil {
		return nil, err
	}
	if db.writer, err = newWriter(path, opts.Now, db.flush.wake, opts.Metrics); err != nil {
		db.flush.close()
		return nil, err
	}
	db.read = newReaders(path, opts.Now)
	id := plane.RandomName(rand.Reader, plane.NoPrefix)
	err = db.Update(ctx, func(t store.Tx) error { return t.(*tx).firstEpoch(id) })
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	opts.Metrics.watch(db)
	return db, nil
}

// Exclusive is true: no other process writes to this file.
func (db *DB) Exclusive() bool { return true }

// View implements store.Store.
func (db *DB) View(ctx context.Context, fn func(store.Tx) error) (err error) {
	defer db.metrics.done(opView, time.Now(), &err)
	return db.read.view(ctx, fn)
}

// Update implements store.Store.
func (db *DB) Update(ctx context.Context, fn func(store.Tx) error) (err error) {
	defer db.metrics.done(opUpdate, time.Now(), &err)
	return db.writer.do(ctx, db.writer.queue, fn)
}

// Urgent implements store.Store.
func (db *DB) Urgent(ctx context.Context, fn func(store.Tx) error) (err error) {
	defer db.metrics.done(opUrgent, time.Now(), &err)
	return db.writer.do(ctx, db.writer.urgent, fn)
}

// Close lets the transactions under way finish, refuses those that wait with
// store.ErrClosed, and closes the file. Closing twice is harmless.
func (db *DB) Close() error {
	db.closing.Do(func() {
		// The last connection to close moves the log into the file.
		db.err = errors.Join(db.flush.close(), db.read.close(), db.writer.close(), db.lock.Close())
	})
	return db.err
}
