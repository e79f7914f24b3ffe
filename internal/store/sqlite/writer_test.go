package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
)

// hold keeps the writer busy until the returned function is called.
func hold(t *testing.T, db *DB) (release func()) {
	t.Helper()
	running, let, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	begin := sync.OnceFunc(func() { close(running) })
	go func() {
		done <- db.Update(context.Background(), func(store.Tx) error {
			begin()
			<-let
			return nil
		})
	}()
	<-running
	return sync.OnceFunc(func() {
		close(let)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// waitFor polls until the condition holds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		runtime.Gosched()
	}
}

func insertKey(name string) func(store.Tx) error {
	return func(tx store.Tx) error {
		return tx.InsertKey(store.Key{Key: plane.Key{Name: name}, Backend: "b", Generation: 1})
	}
}

func hasKey(t *testing.T, db *DB, name string) bool {
	t.Helper()
	err := db.View(context.Background(), func(tx store.Tx) error { _, err := tx.Key("", name); return err })
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func TestTrap27_RenewalsPassEverythingThatWaits(t *testing.T) {
	db := openIn(t, t.TempDir())
	release := hold(t, db)
	defer release()
	var order []string // the writer's
	var wg sync.WaitGroup
	note := func(run func(context.Context, func(store.Tx) error) error, name string) {
		wg.Go(func() {
			if err := run(context.Background(), func(store.Tx) error { order = append(order, name); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	for range 50 {
		note(db.Update, "connect")
	}
	waitFor(t, "50 closures wait", func() bool { return len(db.writer.queue) == 50 })
	note(db.Urgent, "renewal")
	waitFor(t, "a renewal waits", func() bool { return len(db.writer.urgent) == 1 })
	release()
	wg.Wait()
	if len(order) != 51 || order[0] != "renewal" {
		t.Errorf("order of %d closures: %v, want the renewal first", len(order), order)
	}
}

func TestClosuresThatWaitShareACommit(t *testing.T) {
	db := openIn(t, t.TempDir())
	release := hold(t, db)
	defer release()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if err := db.Update(context.Background(), insertKey(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, "100 closures wait", func() bool { return len(db.writer.queue) == 100 })
	before := db.flush.commits
	release()
	wg.Wait()
	if n := db.flush.commits - before; n > 20 { // a slow machine ends a batch by time
		t.Errorf("100 closures took %d commits", n)
	}
}

func TestPanicReachesItsCallerAlone(t *testing.T) {
	db := openIn(t, t.TempDir())
	release := hold(t, db)
	defer release()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil && p != "mine" {
					t.Errorf("panic %v, want mine", p)
				} else if (p != nil) != (i == 5) {
					t.Errorf("closure %d: panic %v", i, p)
				}
			}()
			err := db.Update(context.Background(), func(tx store.Tx) error {
				err := insertKey(fmt.Sprint(i))(tx)
				if i == 5 {
					panic("mine")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, "10 closures wait", func() bool { return len(db.writer.queue) == 10 })
	release()
	wg.Wait()
	for i := range 10 {
		if has := hasKey(t, db, fmt.Sprint(i)); has != (i != 5) {
			t.Errorf("key of closure %d exists: %v", i, has)
		}
	}
}

func TestGoexitInAClosureLeavesAWriter(t *testing.T) {
	db := openIn(t, t.TempDir())
	err := db.Update(context.Background(), func(tx store.Tx) error {
		defer runtime.Goexit()
		return insertKey("a")(tx)
	})
	if err == nil || hasKey(t, db, "a") {
		t.Errorf("error %v, key exists: %v", err, hasKey(t, db, "a"))
	}
	if err := db.Update(context.Background(), insertKey("b")); err != nil || !hasKey(t, db, "b") {
		t.Errorf("after it: error %v", err)
	}
}

// A failed statement counts even if its closure makes nothing of it.
func TestFaultIsNotSwallowed(t *testing.T) {
	db := openIn(t, t.TempDir())
	err := db.Update(context.Background(), func(a store.Tx) error {
		if err := insertKey("a")(a); err != nil {
			return err
		}
		_, _ = a.(*tx).exec("INSERT INTO nowhere VALUES (1)")
		return nil
	})
	if err == nil || hasKey(t, db, "a") {
		t.Errorf("error %v, key exists: %v", err, hasKey(t, db, "a"))
	}
}

// SQLite gives up the whole transaction on some errors (disk full): the
// closures that shared it run again.
func TestALostTransactionIsRunAgainForTheOthers(t *testing.T) {
	db := openIn(t, t.TempDir())
	release := hold(t, db)
	defer release()
	var wg sync.WaitGroup
	errs := make([]error, 10)
	for i := range errs {
		wg.Go(func() {
			errs[i] = db.Update(context.Background(), func(a store.Tx) error {
				if err := insertKey(fmt.Sprint(i))(a); err != nil {
					return err
				}
				if i == 5 {
					_, err := a.(*tx).c.exec("ROLLBACK")
					return err
				}
				return nil
			})
		})
	}
	waitFor(t, "10 closures wait", func() bool { return len(db.writer.queue) == 10 })
	release()
	wg.Wait()
	for i, err := range errs {
		if ok := err == nil && hasKey(t, db, fmt.Sprint(i)); ok != (i != 5) {
			t.Errorf("closure %d: error %v, key exists: %v", i, err, hasKey(t, db, fmt.Sprint(i)))
		}
	}
}

func TestCallerLeavesWhileItsClosureWaits(t *testing.T) {
	db := openIn(t, t.TempDir())
	release := hold(t, db)
	defer release()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	ran := false
	go func() { done <- db.Update(ctx, func(store.Tx) error { ran = true; return nil }) }()
	waitFor(t, "it waits", func() bool { return len(db.writer.queue) == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
	release()
	if err := db.Update(context.Background(), insertKey("a")); err != nil {
		t.Error(err)
	}
	if ran {
		t.Error("the closure ran after its caller had gone")
	}
}

func TestCloseFinishesWhatRunsAndRefusesWhatWaits(t *testing.T) {
	db := openIn(t, t.TempDir())
	release := hold(t, db)
	done := make(chan error, 20)
	for i := range 20 {
		go func() { done <- db.Update(context.Background(), insertKey(fmt.Sprint(i))) }()
	}
	waitFor(t, "20 wait", func() bool { return len(db.writer.queue) == 20 })
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for range 20 {
		if err := <-done; err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("error %v, want none or ErrClosed", err)
		}
	}
}

func TestCommitsAreFlushed(t *testing.T) {
	db := openIn(t, t.TempDir())
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal"} {
		got := ""
		err := db.writer.c.query("PRAGMA "+pragma, func(r *row) error { got = fmt.Sprint(r.values[0]); return nil })
		if err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", pragma, got, err, want)
		}
	}
}
