package storetest

import (
	"time"

	"plane"
	"plane/internal/store"
)

func testSecrets(d db) {
	a := store.APIKey{ID: "ap-2", Name: "ci", Hash: []byte{0, 1, 255}, Grants: []string{"connect:n/*", "read"}, Actor: "operator", CreatedAt: day}
	b := store.APIKey{ID: "ap-1", Hash: []byte{2}, CreatedAt: day.Add(time.Hour)}
	d.do(func(tx store.Tx) error { return tx.InsertAPIKey(a) })
	d.do(func(tx store.Tx) error { return tx.InsertAPIKey(b) })
	same(d, "API keys", look(d, store.Tx.APIKeys), []store.APIKey{a, b})
	by := func(hash []byte) func(tx store.Tx) (store.APIKey, error) {
		return func(tx store.Tx) (store.APIKey, error) { return tx.APIKeyByHash(hash) }
	}
	same(d, "API key by hash", look(d, by([]byte{0, 1, 255})), a)
	for _, hash := range [][]byte{nil, {}, {0}, {0, 1}, {0, 1, 255, 0}} {
		d.wants(store.ErrNotFound, "unknown hash", func(tx store.Tx) error { _, err := by(hash)(tx); return err })
	}
	c := a
	c.Hash = []byte{9}
	d.wants(store.ErrConflict, "used API key id", func(tx store.Tx) error { return tx.InsertAPIKey(c) })
	c = a
	c.ID = "ap-3"
	d.wants(store.ErrConflict, "used API key hash", func(tx store.Tx) error { return tx.InsertAPIKey(c) })
	del := func(id string) bool {
		return change(d, func(tx store.Tx) (bool, error) { return tx.DeleteAPIKey(id) })
	}
	same(d, "deleted", del("ap-2"), true)
	same(d, "deleted again", del("ap-2"), false)
	same(d, "API keys", look(d, store.Tx.APIKeys), []store.APIKey{b})

	key := func(n uint32) store.TokenKey {
		return store.TokenKey{Number: n, Secret: []byte{byte(n), 0, 255}, CreatedAt: day, ActiveAt: day.Add(time.Hour)}
	}
	put := func(c plane.ClusterName, k store.TokenKey) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.InsertTokenKey(c, k) }
	}
	list := func(c plane.ClusterName) []store.TokenKey {
		return look(d, func(tx store.Tx) ([]store.TokenKey, error) { return tx.TokenKeys(c) })
	}
	same(d, "token keys at first", len(list("a.example")), 0)
	d.do(put("a.example", key(1<<32-1)))
	d.do(put("a.example", key(1)))
	d.do(put("b.example", key(1)))
	d.wants(store.ErrConflict, "used number", put("a.example", key(1)))
	same(d, "token keys by number", list("a.example"), []store.TokenKey{key(1), key(1<<32 - 1)})
	d.do(func(tx store.Tx) error { return tx.DeleteTokenKey("a.example", 1) })
	d.do(func(tx store.Tx) error { return tx.DeleteTokenKey("a.example", 1) })
	same(d, "token keys", list("a.example"), []store.TokenKey{key(1<<32 - 1)})
	same(d, "the other cluster's", list("b.example"), []store.TokenKey{key(1)})
}
