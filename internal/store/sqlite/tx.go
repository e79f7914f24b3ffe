package sqlite

import (
	"database/sql/driver"
	"errors"
	"time"

	"plane/internal/store"
)

var errReadOnly = errors.New("sqlite: a View can't write: use Update")

// tx is one closure's transaction. On the writer's connection it is a
// savepoint, set before the first statement that writes.
type tx struct {
	c      *conn
	clock  func() time.Time
	at     time.Time // what Now gave
	writes bool
	saved  bool
	fault  error    // first failure of the database
	kinds  []string // of the events recorded
}

var _ store.Tx = (*tx)(nil)

// Now is the clock that the database was opened with, in whole microseconds.
func (t *tx) Now() time.Time {
	if t.at.IsZero() {
		t.at = time.UnixMicro(t.clock().UnixMicro()).UTC()
	}
	return t.at
}

func (t *tx) failed(err error) error {
	if t.fault == nil {
		t.fault = err
	}
	return err
}

// save sets the savepoint that this closure is undone to.
func (t *tx) save() error {
	if !t.writes {
		return errReadOnly
	}
	if t.saved {
		return nil
	}
	if _, err := t.c.exec("SAVEPOINT closure"); err != nil {
		return t.failed(err)
	}
	t.saved = true
	return nil
}

func (t *tx) run(query string, args []any) (driver.Result, error) {
	if err := t.save(); err != nil {
		return nil, err
	}
	res, err := t.c.exec(query, args...)
	if err != nil {
		return nil, t.failed(err)
	}
	return res, nil
}

// exec runs a writing statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	res, err := t.run(query, args)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// changed is exec for statements whose outcome is whether they hit a row.
func (t *tx) changed(query string, args ...any) (bool, error) {
	n, err := t.exec(query, args...)
	return n > 0, err
}

// insert is exec for ON CONFLICT DO NOTHING: no row means store.ErrConflict.
func (t *tx) insert(query string, args ...any) error {
	_, err := t.insertSeq(query, args...)
	return err
}

// insertSeq is insert for a table with a seq, and returns it.
func (t *tx) insertSeq(query string, args ...any) (int64, error) {
	res, err := t.run(query, args)
	if err != nil {
		return 0, err
	}
	switch n, err := res.RowsAffected(); {
	case err != nil:
		return 0, t.failed(err)
	case n == 0:
		return 0, store.ErrConflict
	}
	return res.LastInsertId()
}

// find calls each for every row of a query.
func (t *tx) find(query string, each func(*row), args ...any) error {
	err := t.c.query(query, func(r *row) error { each(r); return nil }, args...)
	if err != nil {
		return t.failed(err)
	}
	return nil
}

// get is find for one row: none means store.ErrNotFound.
func (t *tx) get(query string, read func(*row), args ...any) error {
	found := false
	err := t.find(query, func(r *row) { found = true; read(r) }, args...)
	if err == nil && !found {
		return store.ErrNotFound
	}
	return err
}

// returning is get for a statement that writes and returns the row.
func (t *tx) returning(query string, read func(*row), args ...any) error {
	if err := t.save(); err != nil {
		return err
	}
	return t.get(query, read, args...)
}

// few is the number of rows to read or delete: limit, or otherwise.
func few(limit, otherwise int) int {
	if limit <= 0 {
		return otherwise
	}
	return limit
}
