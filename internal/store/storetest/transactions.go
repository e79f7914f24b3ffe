package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
)

func key(name string, backend string) store.Key {
	return store.Key{Key: plane.Key{Name: name}, Backend: plane.BackendID(backend), Generation: 1}
}

func (d db) has(name string) bool {
	d.Helper()
	return look(d, func(tx store.Tx) (bool, error) {
		_, err := tx.Key("", name)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	})
}

func testNow(d db) {
	d.do(func(tx store.Tx) error {
		now := tx.Now()
		for range 1000 {
			if !tx.Now().Equal(now) {
				return errors.New("now moved within a transaction")
			}
		}
		if age := time.Since(now); age < -time.Minute || age > time.Minute {
			return fmt.Errorf("now is %v off", age)
		}
		return nil
	})
}

func testRollback(d db) {
	mine := errors.New("mine")
	for _, run := range []func(context.Context, func(store.Tx) error) error{d.store.Update, d.store.Urgent} {
		err := run(d.Context(), func(tx store.Tx) error {
			if err := tx.InsertKey(key("a", "b-1")); err != nil {
				return err
			}
			if _, err := tx.NextGeneration(); err != nil {
				return err
			}
			if k, err := tx.Key("", "a"); err != nil || k.Backend != "b-1" {
				return fmt.Errorf("own write not seen: %v", err)
			}
			return mine
		})
		if err != mine {
			d.Errorf("error %v, want the closure's own", err)
		}
		same(d, "key of a failed closure exists", d.has("a"), false)
	}
	if err := d.store.View(d.Context(), func(store.Tx) error { return mine }); err != mine {
		d.Errorf("view: error %v, want the closure's own", err)
	}
	// After ErrConflict the transaction goes on.
	d.do(func(tx store.Tx) error { return tx.InsertKey(key("a", "b-1")) })
	d.do(func(tx store.Tx) error {
		if err := tx.InsertKey(key("a", "b-2")); !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("got %v, want a conflict", err)
		}
		return tx.InsertKey(key("b", "b-2"))
	})
	same(d, "key after a conflict exists", d.has("b"), true)
}

// testShared fails every other of many closures that wait for the same commit.
func testShared(d db) {
	mine := errors.New("mine")
	var wg sync.WaitGroup
	errs := make([]error, 200)
	for i := range errs {
		wg.Go(func() {
			errs[i] = d.store.Update(d.Context(), func(tx store.Tx) error {
				if err := tx.InsertKey(key(fmt.Sprint(i), "b")); err != nil {
					return err
				}
				if err := tx.InsertEvent(store.Event{Kind: fmt.Sprint(i)}); err != nil {
					return err
				}
				if i%2 == 1 {
					return mine
				}
				return nil
			})
		})
	}
	wg.Wait()
	for i, err := range errs {
		if want := i%2 == 0; d.has(fmt.Sprint(i)) != want || (err == nil) != want || !want && err != mine {
			d.Errorf("closure %d: error %v, key exists: %v", i, err, d.has(fmt.Sprint(i)))
		}
	}
	same(d, "events", len(look(d, func(tx store.Tx) ([]store.Event, error) { return tx.Events(0, 1000) })), 100)
}

// testLeaver lets callers leave while their closures wait or have run.
func testLeaver(d db) {
	ended, cancel := context.WithCancel(d.Context())
	cancel()
	for _, run := range []func(context.Context, func(store.Tx) error) error{d.store.Update, d.store.Urgent, d.store.View} {
		ran := false
		err := run(ended, func(store.Tx) error { ran = true; return nil })
		if !errors.Is(err, context.Canceled) || ran {
			d.Errorf("with an ended context: error %v, ran: %v", err, ran)
		}
	}
	var wg sync.WaitGroup
	stay, leave := make([]error, 200), make([]error, 200)
	for i := range stay {
		ctx, cancel := context.WithCancel(d.Context())
		wg.Go(func() {
			stay[i] = d.store.Update(d.Context(), func(tx store.Tx) error { return tx.InsertKey(key(fmt.Sprint("stay-", i), "b")) })
		})
		wg.Go(func() {
			leave[i] = d.store.Update(ctx, func(tx store.Tx) error {
				if i%3 == 0 {
					cancel() // its end comes while it runs
				}
				return tx.InsertKey(key(fmt.Sprint("leave-", i), "b"))
			})
		})
		wg.Go(cancel)
	}
	wg.Wait()
	for i, err := range stay {
		if err != nil || !d.has(fmt.Sprint("stay-", i)) {
			d.Errorf("closure %d of one who stayed: error %v, key exists: %v", i, err, d.has(fmt.Sprint("stay-", i)))
		}
	}
	for i, err := range leave {
		switch {
		case err == nil && !d.has(fmt.Sprint("leave-", i)):
			d.Errorf("closure %d of one who left returned nil and left no row", i)
		case err != nil && !errors.Is(err, context.Canceled):
			d.Errorf("closure %d of one who left: error %v", i, err)
		}
	}
}

func testViewOnlyReads(d db) {
	err := d.store.View(d.Context(), func(tx store.Tx) error { return tx.InsertKey(key("a", "b")) })
	if err == nil || d.has("a") {
		d.Errorf("a view wrote: error %v, key exists: %v", err, d.has("a"))
	}
	err = d.store.View(d.Context(), func(tx store.Tx) error { _, err := tx.NextGeneration(); return err })
	if err == nil {
		d.Error("a view took a generation")
	}
}

// testSnapshot writes two rows in one transaction over and over, and wants to
// see both or none in every view, however late the second is read.
func testSnapshot(d db) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for i := range 60 {
			err := d.store.Update(d.Context(), func(tx store.Tx) error {
				if err := tx.SetMeta("a", fmt.Sprint(i)); err != nil {
					return err
				}
				return tx.SetMeta("b", fmt.Sprint(i))
			})
			if err != nil {
				d.Error(err)
				return
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := d.store.View(d.Context(), func(tx store.Tx) error {
					a, errA := tx.Meta("a")
					b, errB := tx.Meta("b")
					if a != b || (errA == nil) != (errB == nil) {
						return fmt.Errorf("a is %q (%v) and b is %q (%v)", a, errA, b, errB)
					}
					return nil
				})
				if err != nil {
					d.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func testFresh(d db) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("%d-%d", g, i)
				err := d.store.Update(d.Context(), func(tx store.Tx) error { return tx.InsertKey(key(name, "b")) })
				if err == nil {
					err = d.store.View(d.Context(), func(tx store.Tx) error { _, err := tx.Key("", name); return err })
				}
				if err != nil {
					d.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func testClosed(d db) {
	if err := d.store.Close(); err != nil {
		d.Fatal(err)
	}
	for _, run := range []func(context.Context, func(store.Tx) error) error{d.store.Update, d.store.Urgent, d.store.View} {
		if err := run(d.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
			d.Errorf("error %v, want ErrClosed", err)
		}
	}
	if err := d.store.Close(); err != nil {
		d.Errorf("closed again: %v", err)
	}
}
