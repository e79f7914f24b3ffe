package sqlite

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"plane/internal/store"
	"plane/internal/store/storetest"
)

// small are the tables that stay small: a row per machine, app, API key or counter.
var small = regexp.MustCompile(`^SCAN (app|drone|proxy|controller|api_key|sqlite_sequence|CONSTANT ROW|\(subquery-\d+\))\b`)

// TestStore runs the conformance suite and collects every statement that the
// package prepared for it, so that trap 23 is tested for all of them.
func TestStore(t *testing.T) {
	var mu sync.Mutex
	statements := map[string]bool{}
	t.Run("suite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store {
			db, err := Open(context.Background(), filepath.Join(t.TempDir(), "plane.db"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, c := range append(db.read.idle, db.writer.c) {
					for s := range maps.Keys(c.stmts) {
						statements[s] = true
					}
				}
			})
			return db
		})
	})
	t.Run("trap 23: no statement walks a table", func(t *testing.T) { checkPlans(t, statements) })
}

func checkPlans(t *testing.T, statements map[string]bool) {
	c := openIn(t, t.TempDir()).writer.c
	checked := 0
	for _, s := range slices.Sorted(maps.Keys(statements)) {
		verb, _, _ := strings.Cut(s, " ")
		switch verb {
		case "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE":
			continue
		}
		checked++
		args := make([]any, strings.Count(s, "?"))
		for i := range args {
			args[i] = int64(0)
		}
		err := c.query("EXPLAIN QUERY PLAN "+s, func(r *row) error {
			_, _, _ = r.number(), r.number(), r.number()
			if step := r.text(); strings.HasPrefix(step, "SCAN ") && !small.MatchString(step) {
				return fmt.Errorf("%s", step)
			}
			return nil
		}, args...)
		if err != nil {
			t.Errorf("%v in %s", err, s)
		}
	}
	if checked < 60 {
		t.Errorf("only %d statements were seen", checked)
	}
}
