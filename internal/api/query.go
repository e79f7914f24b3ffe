package api

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"plane"
)

// query is what stands behind the "?". An unknown or repeated name is an error: a
// misspelt filter would show everything.
type query struct{ values url.Values }

func parseQuery(r *http.Request, names ...string) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, plane.NewError(plane.BadRequest, "The query string is malformed.")
	}
	return queryOf(values, names...)
}

func queryOf(values url.Values, names ...string) (query, error) {
	for name, v := range values {
		switch {
		case len(names) == 0:
			return query{}, plane.Invalid(name, fmt.Sprintf("%s is not a parameter here; there are none.", name))
		case !slices.Contains(names, name):
			return query{}, plane.Invalid(name, fmt.Sprintf("%s is not a parameter here%s", name, didYouMean(name, names)))
		case len(v) > 1:
			return query{}, plane.Invalid(name, name+" is given twice.")
		}
	}
	return query{values}, nil
}

func (q query) text(name string) string { return q.values.Get(name) }

// optional tells an empty value from none.
func (q query) optional(name string) *string {
	if !q.values.Has(name) {
		return nil
	}
	s := q.values.Get(name)
	return &s
}

// number reads an integer from least to most; absent gives otherwise.
func (q query) number(name string, least, most, otherwise int64) (int64, error) {
	s := q.values.Get(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		limit := fmt.Sprintf("from %d to %d", least, most)
		if most == math.MaxInt64 {
			limit = fmt.Sprintf("of at least %d", least)
		}
		return 0, plane.Invalid(name, fmt.Sprintf("%s is %q; it must be a number %s.", name, s, limit))
	}
	return n, nil
}

// flag reads "1" or "true", "0", "false" or nothing.
func (q query) flag(name string) (bool, error) {
	switch s := q.values.Get(name); s {
	case "1", "true":
		return true, nil
	case "", "0", "false":
		return false, nil
	default:
		return false, plane.Invalid(name, fmt.Sprintf("%s is %q; it must be 1 or 0.", name, s))
	}
}
