package storetest

import (
	"encoding/json"
	"time"

	"plane"
	"plane/internal/store"
)

func get(d db, id string) store.Backend {
	d.Helper()
	return look(d, func(tx store.Tx) (store.Backend, error) { return tx.Backend(plane.BackendID(id)) })
}

func history(d db, id string) []store.Step {
	d.Helper()
	return look(d, func(tx store.Tx) ([]store.Step, error) { return tx.History(plane.BackendID(id)) })
}

func count(d db, drone string) int {
	d.Helper()
	return look(d, func(tx store.Tx) (int, error) { return tx.CountLive(plane.NodeName(drone)) })
}

func testBackend(d db) {
	d.wants(store.ErrNotFound, "unknown backend", func(tx store.Tx) error { _, err := tx.Backend("b-1"); return err })
	b := store.Backend{
		ID: "b-1", Key: plane.Key{Namespace: "n", Name: "doc", Tag: "t"}, Generation: plane.NewGeneration(7, 9),
		Cluster: "a.example", Drone: "dr-1", App: "board", Release: 3, Volume: "v-1", Policy: plane.Sticky, Epoch: 5, Static: true,
		Subdomain: "s", Actor: "api-key ap-1", Decision: "fewest backends", RequestID: "r-1", CreatedAt: day,
		State: plane.State{Status: plane.Scheduled}, Revocation: 2, Revision: 4,
		Spec: plane.Spec{
			Executable: json.RawMessage(`{"command":["a"],"env":{"ü":"\u0000'"}}`), LifetimeLimit: ptr(int32(9)),
			Subdomain: ptr("s"), Pool: "gpu", Lease: plane.Sticky,
		},
	}
	before := time.Now().Add(-time.Second)
	d.do(insert(b))
	got := get(d, "b-1")
	if got.StateAt.Before(before) || got.StateAt.After(time.Now().Add(time.Second)) {
		d.Errorf("state at %v, want the database's now", got.StateAt)
	}
	b.StateAt = got.StateAt
	same(d, "backend", got, b)
	same(d, "history", history(d, "b-1"), []store.Step{{State: b.State, At: b.StateAt}})
	same(d, "live", count(d, "dr-1"), 1)

	twin := backend("b-1", "m", "other", "dr-2", 8)
	d.wants(store.ErrConflict, "used id", insert(twin))
	same(d, "backend after a conflict", get(d, "b-1"), b)
	same(d, "history after a conflict", len(history(d, "b-1")), 1)
	same(d, "live on the loser's drone", count(d, "dr-2"), 0)
	same(d, "history of an unknown id", len(history(d, "b-7")), 0)
}

func testRecordState(d db) {
	d.do(insert(backend("b-1", "", "a", "dr-1", 1), backend("b-2", "", "b", "dr-1", 2), backend("b-3", "", "c", "dr-2", 3)))
	step := func(s plane.State, at time.Time) bool {
		return change(d, func(tx store.Tx) (bool, error) { return tx.RecordState("b-1", s, at) })
	}
	start := get(d, "b-1")
	waiting := plane.State{Status: plane.Waiting, Address: "127.0.0.1:1"}
	ready := plane.State{Status: plane.Ready, Address: "127.0.0.1:1"}
	ended := plane.State{
		Status: plane.Terminated, LastStatus: plane.Ready, Termination: plane.Hard, Reason: plane.Swept,
		Exit: &plane.Exit{Code: ptr(137), Signal: "SIGKILL", Output: "last\n"},
	}
	same(d, "waiting", step(waiting, day), true)
	same(d, "waiting again", step(waiting, day.Add(1)), false)
	same(d, "an earlier status", step(plane.State{Status: plane.Loading}, day.Add(2)), false)
	b := get(d, "b-1")
	same(d, "state", b.State, waiting)
	same(d, "state's time, trap 16: the original one", b.StateAt, day)
	same(d, "ready at", b.ReadyAt, time.Time{})
	if b.Revision <= start.Revision {
		d.Errorf("revision %d after %d: it must rise", b.Revision, start.Revision)
	}
	same(d, "ready", step(ready, day.Add(time.Second)), true)
	same(d, "ready at", get(d, "b-1").ReadyAt, day.Add(time.Second))
	same(d, "live", count(d, "dr-1"), 2)
	same(d, "terminated", step(ended, day.Add(time.Minute)), true)
	same(d, "terminated again", step(ended, day.Add(time.Hour)), false)
	same(d, "back to ready", step(ready, day.Add(time.Hour)), false)
	same(d, "live", count(d, "dr-1"), 1)
	same(d, "live elsewhere", count(d, "dr-2"), 1)
	b = get(d, "b-1")
	same(d, "state", b.State, ended)
	same(d, "ready at", b.ReadyAt, day.Add(time.Second))
	same(d, "history", history(d, "b-1")[1:], []store.Step{
		{State: waiting, At: day}, {State: ready, At: day.Add(time.Second)}, {State: ended, At: day.Add(time.Minute)},
	})
	same(d, "unknown id", change(d, func(tx store.Tx) (bool, error) { return tx.RecordState("b-7", ready, day) }), false)
	for _, s := range []plane.Status{"", "finished"} {
		err := d.store.Update(d.Context(), func(tx store.Tx) error {
			_, err := tx.RecordState("b-2", plane.State{Status: s}, day)
			return err
		})
		if err == nil {
			d.Errorf("status %q was recorded", s)
		}
	}
	// An end reported by a clock that stands at zero is an end all the same.
	d.do(func(tx store.Tx) error { return record(tx, "b-3", plane.Terminated, time.Unix(0, 0)) })
	same(d, "live after an end in 1970", count(d, "dr-2"), 0)
}

func testBackends(d db) {
	make := func(id, ns, name, drone, app string, cluster plane.ClusterName, g int64) store.Backend {
		b := backend(id, ns, name, drone, g)
		b.App, b.Cluster = app, cluster
		return b
	}
	d.do(insert(
		make("b-5", "n", "doc-1", "dr-1", "", "a.example", 5),
		make("b-1", "n", "doc-1", "dr-1", "", "a.example", 1),
		make("b-2", "n", "doc-2", "dr-2", "board", "a.example", 2),
		make("b-3", "", "doc-1", "dr-3", "board", "b.example", 3),
		make("b-4", "n", "zürich%", "dr-1", "", "a.example", 4),
		make("b-6", "n", "doc", "dr-1", "", "a.example", 6),
	))
	d.do(func(tx store.Tx) error { return record(tx, "b-1", plane.Terminated, day) })
	d.do(func(tx store.Tx) error { return record(tx, "b-4", plane.Ready, day) })

	ids := func(all []store.Backend) string {
		s := ""
		for _, b := range all {
			s += string(b.ID[2:])
		}
		return s
	}
	for _, c := range []struct {
		f    store.Filter
		want string
	}{
		{store.Filter{}, "123456"},
		{store.Filter{Cluster: "b.example"}, "3"},
		{store.Filter{Namespace: ptr("n")}, "12456"},
		{store.Filter{Namespace: ptr("")}, "3"},
		{store.Filter{KeyPrefix: "doc-"}, "1235"},
		{store.Filter{KeyPrefix: "doc-1"}, "135"},
		{store.Filter{KeyPrefix: "DOC"}, ""},
		{store.Filter{KeyPrefix: "d_c"}, ""},
		{store.Filter{KeyPrefix: "zü"}, "4"},
		{store.Filter{KeyPrefix: "zürich%"}, "4"},
		{store.Filter{App: ptr("board")}, "23"},
		{store.Filter{App: ptr("")}, "1456"},
		{store.Filter{Status: plane.Ready}, "4"},
		{store.Filter{Status: plane.Terminated}, "1"},
		{store.Filter{Status: plane.Terminated, Live: true}, ""},
		{store.Filter{Status: "nonsense"}, ""},
		{store.Filter{Drone: "dr-1"}, "1456"},
		{store.Filter{Drone: "dr-1", Live: true}, "456"},
		{store.Filter{Live: true}, "23456"},
		{store.Filter{Limit: 2}, "12"},
		{store.Filter{Limit: 2, After: "b-2"}, "34"},
		{store.Filter{After: "b-6"}, ""},
		{store.Filter{Cluster: "a.example", Namespace: ptr("n"), KeyPrefix: "doc", App: ptr(""), Status: plane.Scheduled, Drone: "dr-1", Live: true, After: "b-1", Limit: 1}, "5"},
	} {
		got := look(d, func(tx store.Tx) ([]store.Backend, error) { return tx.Backends(c.f) })
		if ids(got) != c.want {
			d.Errorf("backends with %+v: %q, want %q", c.f, ids(got), c.want)
		}
	}
	of := func(ns, name string, limit int) string {
		return ids(look(d, func(tx store.Tx) ([]store.Backend, error) { return tx.KeyBackends(ns, name, limit) }))
	}
	same(d, "of a key, newest first", of("n", "doc-1", 10), "51")
	same(d, "the newest of a key", of("n", "doc-1", 1), "5")
	same(d, "of a key without any", of("", "doc-2", 10), "")
	same(d, "live on dr-1", len(look(d, func(tx store.Tx) ([]store.Backend, error) { return tx.LiveOn("dr-1") })), 3)
	same(d, "live on dr-3", ids(look(d, func(tx store.Tx) ([]store.Backend, error) { return tx.LiveOn("dr-3") })), "3")
	same(d, "number live on dr-1", count(d, "dr-1"), 3)
	same(d, "number live on an unknown one", count(d, "dr-7"), 0)
}

func testRevoke(d db) {
	d.do(insert(backend("b-1", "", "a", "dr-1", 1), backend("b-2", "", "b", "dr-1", 2)))
	revoke := func(user string) int64 {
		return change(d, func(tx store.Tx) (int64, error) { return tx.Revoke("b-1", user) })
	}
	revoked := func(id plane.BackendID) map[string]int64 {
		return look(d, func(tx store.Tx) (map[string]int64, error) { return tx.Revoked(id) })
	}
	same(d, "revoked at first", len(revoked("b-1")), 0)
	before := get(d, "b-1")
	same(d, "first", revoke("ann"), 1)
	same(d, "second", revoke("bob"), 2)
	same(d, "third", revoke("ann"), 3)
	same(d, "of no user", revoke(""), 4)
	same(d, "revoked", revoked("b-1"), map[string]int64{"ann": 3, "bob": 2, "": 4})
	same(d, "revoked of the other", len(revoked("b-2")), 0)
	after := get(d, "b-1")
	same(d, "the backend's number", after.Revocation, 4)
	if after.Revision <= before.Revision {
		d.Errorf("revision %d after %d: it must rise", after.Revision, before.Revision)
	}
	same(d, "the other's number", get(d, "b-2").Revocation, 0)
	d.wants(store.ErrNotFound, "unknown backend", func(tx store.Tx) error { _, err := tx.Revoke("b-7", "ann"); return err })

	d.do(func(tx store.Tx) error {
		if err := insert(backend("b-3", "", "a", "dr-1", 3), backend("b-4", "x", "a", "dr-1", 4))(tx); err != nil {
			return err
		}
		_, err := tx.Revoke("b-3", "bob")
		return err
	})
	later := func(namespace string, counter uint32, user string) bool {
		return look(d, func(tx store.Tx) (bool, error) {
			return tx.RevokedLater(namespace, "a", plane.NewGeneration(1, counter), user)
		})
	}
	same(d, "revoked on a later backend", later("", 1, "bob"), true)
	same(d, "revoked on that one itself", later("", 3, "bob"), false)
	same(d, "revoked on an earlier one", later("", 1, "ann"), false)
	same(d, "revoked on any", later("", 0, "ann"), true)
	same(d, "revoked of the other key", later("x", 0, "bob"), false)
}

func testDeleteEnded(d db) {
	d.do(func(tx store.Tx) error {
		for i, id := range []string{"b-1", "b-2", "b-3", "b-4", "b-5"} {
			if err := tx.InsertBackend(backend(id, "", id, "dr-1", int64(i))); err != nil {
				return err
			}
			if err := tx.InsertAction(store.Action{ID: "ak-" + id, Drone: "dr-1", Backend: plane.BackendID(id), Kind: "spawn"}); err != nil {
				return err
			}
			if _, err := tx.Revoke(plane.BackendID(id), "ann"); err != nil {
				return err
			}
			if i < 4 {
				if err := record(tx, id, plane.Terminated, day.Add(time.Duration(i)*time.Hour)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	del := func(before time.Time, limit int) int {
		return change(d, func(tx store.Tx) (int, error) { return tx.DeleteEnded(before, limit) })
	}
	same(d, "before the first", del(day, 10), 0)
	same(d, "before the fourth, limit 2", del(day.Add(3*time.Hour), 2), 2)
	same(d, "before the fourth, the rest", del(day.Add(3*time.Hour), 2), 1)
	same(d, "before the fourth, no more", del(day.Add(3*time.Hour), 2), 0)
	left := look(d, func(tx store.Tx) ([]store.Backend, error) { return tx.Backends(store.Filter{}) })
	if len(left) != 2 || left[0].ID != "b-4" || left[1].ID != "b-5" {
		d.Errorf("left: %+v, want b-4 and b-5", left)
	}
	for _, id := range []string{"b-1", "b-3"} {
		same(d, "history of a deleted one", len(history(d, id)), 0)
		same(d, "revoked of a deleted one", len(look(d, func(tx store.Tx) (map[string]int64, error) { return tx.Revoked(plane.BackendID(id)) })), 0)
		same(d, "actions of a deleted one", len(look(d, func(tx store.Tx) ([]store.Action, error) { return tx.Pending(plane.BackendID(id)) })), 0)
		d.wants(store.ErrConflict, "id of a deleted one", insert(backend(id, "", "new", "dr-1", 9)))
	}
	same(d, "history of one that is left", len(history(d, "b-4")), 2)
	same(d, "actions of one that is left", len(look(d, func(tx store.Tx) ([]store.Action, error) { return tx.Pending("b-5") })), 1)
	same(d, "live", count(d, "dr-1"), 1)
	// A new backend inherits nothing of a deleted one.
	d.do(insert(backend("b-6", "", "new", "dr-1", 10)))
	same(d, "history of a new one", len(history(d, "b-6")), 1)
	same(d, "live with a new one", count(d, "dr-1"), 2)
}
