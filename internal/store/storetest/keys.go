package storetest

import (
	"time"

	"plane"
	"plane/internal/store"
)

func testKeys(d db) {
	key := store.Key{Key: plane.Key{Namespace: "n", Name: "doc", Tag: "t"}, Backend: "b-1", Generation: 1<<53 - 1}
	get := func(tx store.Tx) (store.Key, error) { return tx.Key("n", "doc") }
	missing := func(tx store.Tx) error { _, err := get(tx); return err }

	d.wants(store.ErrNotFound, "key without row", missing)
	d.do(func(tx store.Tx) error { return tx.InsertKey(key) })
	same(d, "key", look(d, get), key)

	other := key
	other.Backend, other.Key.Tag = "b-2", "u"
	d.wants(store.ErrConflict, "second row of a key, with another tag", func(tx store.Tx) error { return tx.InsertKey(other) })
	same(d, "key after a conflict", look(d, get), key)

	for _, k := range []plane.Key{{}, {Name: "doc"}, {Namespace: "n"}, {Namespace: "nd", Name: "oc"}, {Namespace: "N", Name: "doc"}, {Namespace: "n", Name: "doc "}, {Name: "ü%_\\'\"\n"}} {
		d.do(func(tx store.Tx) error { return tx.InsertKey(store.Key{Key: k, Backend: "b-9", Generation: 1}) })
		same(d, "other key", look(d, func(tx store.Tx) (store.Key, error) { return tx.Key(k.Namespace, k.Name) }).Key, k)
	}

	del := func(b plane.BackendID) bool {
		return change(d, func(tx store.Tx) (bool, error) { return tx.DeleteKey("n", "doc", b) })
	}
	same(d, "deleted for a backend that doesn't hold it", del("b-2"), false)
	same(d, "key after that", look(d, get), key)
	same(d, "deleted for its holder", del("b-1"), true)
	same(d, "deleted again", del("b-1"), false)
	d.wants(store.ErrNotFound, "deleted key", missing)
	d.do(func(tx store.Tx) error { return tx.InsertKey(other) })
	same(d, "key taken again", look(d, get), other)
}

func testCrashes(d db) {
	get := func(name string) store.Crash {
		return look(d, func(tx store.Tx) (store.Crash, error) { return tx.Crash("n", name) })
	}
	set := func(name string, c store.Crash) {
		d.do(func(tx store.Tx) error { return tx.SetCrash("n", name, c) })
	}
	del := func(before time.Time, limit int) int {
		return change(d, func(tx store.Tx) (int, error) { return tx.DeleteCrashes(before, limit) })
	}
	same(d, "crash of an unknown key", get("a"), store.Crash{})
	c := store.Crash{Count: 3, Last: day, Output: "boom\n", Exit: plane.Exit{Code: ptr(139), Signal: "SIGSEGV", OOM: true}}
	set("a", c)
	set("b", store.Crash{Count: 1, Last: day})
	same(d, "crash", get("a"), c)
	c.Count, c.Exit = 4, plane.Exit{}
	set("a", c)
	same(d, "crash changed", get("a"), c)
	set("a", store.Crash{})
	same(d, "crash cleared", get("a"), store.Crash{})
	same(d, "the other key's", get("b").Count, 1)

	// The rows' age counts, not that of the crash.
	same(d, "deleted too early", del(day.Add(time.Hour), 10), 0)
	for _, name := range []string{"c", "d", "e"} {
		set(name, store.Crash{Count: 1})
	}
	later := look(d, func(tx store.Tx) (time.Time, error) { return tx.Now(), nil }).Add(time.Hour)
	same(d, "deleted of four with limit 3", del(later, 3), 3)
	same(d, "deleted of one with limit 3", del(later, 3), 1)
	same(d, "deleted of none", del(later, 3), 0)
}
