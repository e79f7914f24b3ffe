package storetest

import (
	"plane"
	"plane/internal/store"
)

func testActions(d db) {
	action := func(id, drone, backend string) store.Action {
		return store.Action{
			ID: id, Drone: plane.NodeName(drone), Backend: plane.BackendID(backend), Kind: "spawn",
			Body: []byte("{\"a\":\"\x00\xff\"}"), CreatedAt: day,
		}
	}
	a, b, c, e := action("z", "dr-1", "b-1"), action("y", "dr-2", "b-2"), action("x", "dr-1", "b-1"), action("w", "dr-1", "b-3")
	for _, x := range []store.Action{a, b, c, e} {
		d.do(func(tx store.Tx) error { return tx.InsertAction(x) })
	}
	d.wants(store.ErrConflict, "used action id", func(tx store.Tx) error { return tx.InsertAction(action("z", "dr-2", "b-9")) })
	var last int64
	page := func(after int64, limit int) []store.Action {
		return look(d, func(tx store.Tx) (all []store.Action, err error) {
			all, last, err = tx.Actions("dr-1", after, limit)
			return all, err
		})
	}
	same(d, "first page, in order of insertion", page(0, 2), []store.Action{a, c})
	same(d, "second page", page(last, 2), []store.Action{e})
	at := last
	same(d, "third page", len(page(last, 2)), 0)
	same(d, "cursor of an empty page", last, at)
	same(d, "pending", look(d, func(tx store.Tx) ([]store.Action, error) { return tx.Pending("b-1") }), []store.Action{a, c})
	del := func(id string) bool {
		return change(d, func(tx store.Tx) (bool, error) { return tx.DeleteAction(id) })
	}
	same(d, "acknowledged", del("w"), true)
	same(d, "acknowledged again", del("w"), false)
	// A cursor must not skip what is inserted after the newest was deleted.
	f := action("v", "dr-1", "b-4")
	d.do(func(tx store.Tx) error { return tx.InsertAction(f) })
	same(d, "page after that", page(at, 2), []store.Action{f})
	same(d, "all that are left", page(0, 10), []store.Action{a, c, f})

	// Trap 24: a spawn with a large environment.
	big := action("big", "dr-9", "b-9")
	big.Body = make([]byte, 1<<20)
	d.do(func(tx store.Tx) error { return tx.InsertAction(big) })
	got := look(d, func(tx store.Tx) ([]store.Action, error) { return tx.Pending("b-9") })
	if len(got) != 1 || len(got[0].Body) != 1<<20 {
		d.Error("a body of 1 MiB did not come back")
	}
}
