package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	sqlite "modernc.org/sqlite"
)

// conn is one connection with its prepared statements. It is used by one
// goroutine at a time. It stands on the driver directly: database/sql would add
// a lock, a goroutine per cancellable call and several allocations to every
// statement.
type conn struct {
	c     driver.Conn
	path  string
	stmts map[string]driver.Stmt
	args  []driver.NamedValue
	row   row
}

// dsn names the database file with the pragmas of one connection.
func dsn(path string, pragmas ...string) string {
	u := url.URL{Scheme: "file", OmitHost: true, Path: path} // without "//", after which a relative path would be a host
	q := url.Values{"_pragma": append([]string{"busy_timeout(10000)", "synchronous(FULL)"}, pragmas...)}
	return u.String() + "?" + q.Encode()
}

func connect(path string, pragmas ...string) (*conn, error) {
	c, err := new(sqlite.Driver).Open(dsn(path, pragmas...))
	if err != nil {
		return nil, explain(path, err)
	}
	return &conn{c: c, path: path, stmts: map[string]driver.Stmt{}}, nil
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		_ = s.Close()
	}
	return c.c.Close()
}

func (c *conn) stmt(query string) (driver.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.c.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	c.stmts[query] = s
	return s, nil
}

// bind fills the connection's argument buffer; the driver keeps none of it.
func (c *conn) bind(args []any) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: value(a)})
	}
	return c.args
}

// exec runs a statement that gives no rows.
func (c *conn) exec(query string, args ...any) (driver.Result, error) {
	s, err := c.stmt(query)
	if err != nil {
		return nil, explain(c.path, err)
	}
	res, err := s.(driver.StmtExecContext).ExecContext(context.Background(), c.bind(args))
	if err != nil {
		return nil, explain(c.path, err)
	}
	return res, nil
}

// query calls each for every row; its row is valid only during the call.
func (c *conn) query(query string, each func(*row) error, args ...any) (err error) {
	s, err := c.stmt(query)
	if err != nil {
		return explain(c.path, err)
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), c.bind(args))
	if err != nil {
		return explain(c.path, err)
	}
	defer func() {
		if e := rows.Close(); e != nil && err == nil {
			err = explain(c.path, e)
		}
	}()
	r := row{values: c.row.values[:0]}
	for range rows.Columns() {
		r.values = append(r.values, nil)
	}
	c.row.values = r.values
	for {
		r.at = 0
		switch err := rows.Next(r.values); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return explain(c.path, err)
		}
		if err := each(&r); err != nil {
			return err
		}
		if r.err != nil {
			return fmt.Errorf("read row: %w", r.err)
		}
	}
}
