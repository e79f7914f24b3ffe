package sqlite

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// value is what the database keeps for a Go value: times as microseconds,
// booleans as 0 and 1, named strings and integers as what they are.
func value(v any) driver.Value {
	switch v := v.(type) {
	case string, int64:
		return v
	case []byte:
		if v == nil {
			return []byte{} // the driver's nil is NULL, which no column takes
		}
		return v
	case bool:
		if v {
			return int64(1)
		}
		return int64(0)
	case time.Time:
		return micros(v)
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.String:
		return r.String()
	case reflect.Int, reflect.Int64:
		return r.Int()
	case reflect.Uint32:
		return int64(r.Uint())
	}
	panic(fmt.Sprintf("sqlite: no column for a %T", v))
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// encode gives the JSON text of a value that is stored whole.
func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// row reads one row's columns from left to right. The first column that isn't
// what was asked for is remembered in err.
type row struct {
	values []driver.Value
	at     int
	err    error
}

func next[T any](r *row) T {
	v := r.values[r.at]
	r.at++
	t, ok := v.(T)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("column %d is a %T, not a %T", r.at, v, t)
	}
	return t
}

func (r *row) text() string  { return next[string](r) }
func (r *row) number() int64 { return next[int64](r) }
func (r *row) yes() bool     { return r.number() != 0 }
func (r *row) blob() []byte  { return next[[]byte](r) }

func (r *row) time() time.Time {
	n := r.number()
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

func (r *row) json(into any) {
	if err := json.Unmarshal([]byte(r.text()), into); err != nil && r.err == nil {
		r.err = fmt.Errorf("column %d: %w", r.at, err)
	}
}
