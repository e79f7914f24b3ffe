package storetest

import (
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

func template(command ...string) plane.Template {
	return plane.Template{
		Command: command, Dir: "/srv", Env: map[string]string{"A": "ü=\n"}, MaxIdle: ptr(int32(0)),
		Data: plane.DataKeep, Ports: map[string]int{"metrics": 9100}, Idle: []plane.Use{plane.UseHolds},
	}
}

func release(tx store.Tx, app, command string) (int64, error) {
	return tx.InsertRelease(store.Release{App: app, Template: template(command), Digest: "sha256:1", Actor: "operator"})
}

// applied is what Apply does: a new release that the app points at.
func applied(tx store.Tx, app, command string) error {
	n, err := release(tx, app, command)
	if err != nil {
		return err
	}
	return tx.PutApp(app, n)
}

func testApps(d db) {
	d.wants(store.ErrNotFound, "an app without row", func(tx store.Tx) error { _, err := tx.App("board"); return err })
	d.wants(store.ErrNotFound, "a release without row", func(tx store.Tx) error { _, err := tx.Release("board", 1); return err })
	d.wants(store.ErrNotFound, "an app that points at no release", func(tx store.Tx) error { return tx.PutApp("board", 1) })

	now := change(d, func(tx store.Tx) (time.Time, error) {
		for _, name := range []string{"board", "", "board", "a"} {
			if err := applied(tx, name, "./"+name); err != nil {
				return time.Time{}, err
			}
		}
		return tx.Now(), nil
	})
	same(d, "apps", look(d, store.Tx.Apps), []store.App{
		{Name: "", Release: 1, UpdatedAt: now}, {Name: "a", Release: 1, UpdatedAt: now}, {Name: "board", Release: 2, UpdatedAt: now},
	})
	same(d, "release", look(d, func(tx store.Tx) (store.Release, error) { return tx.Release("board", 2) }), store.Release{
		App: "board", Number: 2, Template: template("./board"), Digest: "sha256:1", Actor: "operator", CreatedAt: now,
	})
	d.do(func(tx store.Tx) error { return tx.PutApp("board", 1) })
	same(d, "pointer moved back", look(d, func(tx store.Tx) (store.App, error) { return tx.App("board") }).Release, 1)
	d.wants(store.ErrNotFound, "another app's release", func(tx store.Tx) error { return tx.PutApp("a", 2) })
	same(d, "pointer after that", look(d, func(tx store.Tx) (store.App, error) { return tx.App("a") }).Release, 1)
}

func testDigests(d db) {
	d.do(func(tx store.Tx) error {
		for range 2 {
			if _, err := tx.InsertRelease(store.Release{App: "board", Template: template("./x")}); err != nil {
				return err
			}
		}
		return nil
	})
	note := func(app string, number int64, digest string) bool {
		return change(d, func(tx store.Tx) (bool, error) { return tx.NoteDigest(app, number, digest) })
	}
	same(d, "the first digest is kept", note("board", 1, "sha256:a"), true)
	same(d, "a second one isn't", note("board", 1, "sha256:b"), false)
	same(d, "nor one of a release without row", note("board", 3, "sha256:a"), false)
	same(d, "nor one of another app", note("chess", 1, "sha256:a"), false)
	of := func(number int64) string {
		return look(d, func(tx store.Tx) (store.Release, error) { return tx.Release("board", number) }).Digest
	}
	same(d, "digest", of(1), "sha256:a")
	same(d, "digest of the other release", of(2), "")
}

func numbersOf(app string, limit int) func(store.Tx) ([]int64, error) {
	return func(tx store.Tx) ([]int64, error) {
		all, err := tx.Releases(app, limit)
		var out []int64
		for _, r := range all {
			out = append(out, r.Number)
		}
		return out, err
	}
}

func testReleases(d db) {
	d.do(func(tx store.Tx) error {
		for range 8 {
			if err := errors.Join(applied(tx, "board", "./x"), applied(tx, "chess", "./x")); err != nil {
				return err
			}
		}
		used := backend("b-1", "board", "doc", "dr-1", 1)
		used.App, used.Release = "board", 3
		ended := backend("b-2", "board", "old", "dr-1", 2)
		ended.App, ended.Release = "board", 4
		other := backend("b-3", "chess", "doc", "dr-1", 3)
		other.App, other.Release = "chess", 5 // is no use of board's
		if err := insert(used, ended, other)(tx); err != nil {
			return err
		}
		if err := record(tx, "b-2", plane.Terminated, day); err != nil {
			return err
		}
		return tx.PutApp("board", 2)
	})
	same(d, "latest", look(d, numbersOf("board", 3)), []int64{8, 7, 6})
	del := func(below int64, limit int) int {
		return change(d, func(tx store.Tx) (int, error) { return tx.DeleteReleases("board", below, limit) })
	}
	same(d, "deleted of what is old, unused and not pointed at", del(7, 2), 2)
	same(d, "left of board", look(d, numbersOf("board", 0)), []int64{8, 7, 6, 4, 3, 2})
	same(d, "deleted with the next", del(7, 2), 1)
	same(d, "deleted of none", del(7, 2), 0)
	same(d, "left of board", look(d, numbersOf("board", 0)), []int64{8, 7, 4, 3, 2})
	same(d, "left of the other app", look(d, numbersOf("chess", 0)), []int64{8, 7, 6, 5, 4, 3, 2, 1})

	// Also when the latest are deleted: numbers aren't used again.
	same(d, "deleted up to the latest", del(9, 0), 2)
	same(d, "number after that", change(d, func(tx store.Tx) (int64, error) { return release(tx, "board", "./y") }), 9)
	same(d, "number of a new app", change(d, func(tx store.Tx) (int64, error) { return release(tx, "new", "./y") }), 1)
}

func testCounts(d db) {
	d.do(put(drone("dr-1", "a.example"), drone("dr-2", "a.example"), drone("dr-3", "b.example")))
	d.do(func(tx store.Tx) error {
		for i, x := range []struct {
			drone, app string
			release    int64
		}{{"dr-1", "board", 1}, {"dr-2", "board", 2}, {"dr-3", "board", 1}, {"dr-1", "", 1}, {"dr-1", "", 0}, {"dr-1", "board", 1}} {
			b := backend(fmt.Sprint("b-", i), "n", fmt.Sprint(i), x.drone, int64(i))
			b.App, b.Release = x.app, x.release
			if err := tx.InsertBackend(b); err != nil {
				return err
			}
		}
		return record(tx, "b-5", plane.Terminated, day)
	})
	in := func(c plane.ClusterName) int {
		return look(d, func(tx store.Tx) (int, error) { return tx.CountLiveIn(c) })
	}
	of := func(app string) int {
		return look(d, func(tx store.Tx) (int, error) { return tx.CountLiveOf(app) })
	}
	same(d, "live in a cluster", in("a.example"), 4)
	same(d, "live in the other", in("b.example"), 1)
	same(d, "live in an unknown one", in("c.example"), 0)
	same(d, "live of an app", of("board"), 3)
	same(d, "live of the unnamed app, not of none", of(""), 1)
	same(d, "live of an unknown app", of("chess"), 0)
}

func testEnded(d db) {
	d.do(func(tx store.Tx) error {
		for i := range 5 {
			id := fmt.Sprint("b-", i)
			if err := tx.InsertBackend(backend(id, "n", id, "dr-1", int64(i))); err != nil {
				return err
			}
			if i == 4 {
				break // it lives
			}
			if err := record(tx, id, plane.Terminated, day.Add(time.Duration(i%3)*time.Minute)); err != nil {
				return err
			}
		}
		return nil
	})
	ended := func(after time.Time, limit int) []plane.BackendID {
		return look(d, func(tx store.Tx) ([]plane.BackendID, error) {
			all, err := tx.Ended(after, limit)
			var ids []plane.BackendID
			for _, b := range all {
				ids = append(ids, b.ID)
			}
			return ids, err
		})
	}
	same(d, "ended, newest first", ended(day.Add(-time.Second), 0), []plane.BackendID{"b-2", "b-1", "b-3", "b-0"})
	same(d, "the latest two", ended(day.Add(-time.Second), 2), []plane.BackendID{"b-2", "b-1"})
	same(d, "after a time", ended(day, 0), []plane.BackendID{"b-2", "b-1"})
	same(d, "after that", ended(day.Add(time.Hour), 0), nil)
}
