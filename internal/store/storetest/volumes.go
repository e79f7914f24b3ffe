package storetest

import (
	"errors"
	"time"

	"plane"
	"plane/internal/store"
)

func volume(id, namespace, name string, g plane.Generation) store.Volume {
	return store.Volume{ID: id, Namespace: namespace, Name: name, App: "board", Drone: "dr-1", Generation: g}
}

func testVolumes(d db) {
	get := func(tx store.Tx) (store.Volume, error) { return tx.Volume("n", "doc") }
	d.wants(store.ErrNotFound, "a key without data", func(tx store.Tx) error { _, err := get(tx); return err })
	now := change(d, func(tx store.Tx) (time.Time, error) { return tx.Now(), tx.InsertVolume(volume("v-1", "n", "doc", 5)) })
	want := volume("v-1", "n", "doc", 5)
	want.CreatedAt, want.AttachedAt = now, now
	same(d, "volume", look(d, get), want)

	d.wants(store.ErrConflict, "a second volume of a key", func(tx store.Tx) error { return tx.InsertVolume(volume("v-2", "n", "doc", 6)) })
	d.wants(store.ErrConflict, "a second key of a volume", func(tx store.Tx) error { return tx.InsertVolume(volume("v-1", "n", "other", 6)) })
	same(d, "volume after conflicts", look(d, get), want)

	attach := func(id string, g plane.Generation) bool {
		return change(d, func(tx store.Tx) (bool, error) { return tx.AttachVolume(id, g) })
	}
	same(d, "attached by the same generation", attach("v-1", 5), false)
	same(d, "attached by an earlier one", attach("v-1", 4), false)
	same(d, "volume after that", look(d, get), want)
	same(d, "attached by a later one", attach("v-1", 1<<53-1), true)
	same(d, "attached by an earlier one than that", attach("v-1", 6), false)
	same(d, "an unknown volume", attach("v-9", 6), false)
	got := look(d, get)
	same(d, "generation", got.Generation, plane.Generation(1<<53-1))
	same(d, "creation stays", got.CreatedAt, now)
	same(d, "attachment moves", got.AttachedAt.Before(now), false)

	d.do(func(tx store.Tx) error {
		return errors.Join(tx.MakeVolume("v-1"), tx.MakeVolume("v-1"), tx.MakeVolume("v-9"))
	})
	same(d, "made", look(d, get).Made, true)

	del := func(id string) bool {
		return change(d, func(tx store.Tx) (bool, error) { return tx.DeleteVolume(id) })
	}
	same(d, "deleted", del("v-1"), true)
	same(d, "deleted again", del("v-1"), false)
	d.do(func(tx store.Tx) error { return tx.InsertVolume(volume("v-2", "n", "doc", 1)) })
	same(d, "the key's next is not made", look(d, get).Made, false)
}

func testVolumeList(d db) {
	d.do(func(tx store.Tx) error {
		for _, v := range []store.Volume{
			volume("v-3", "n", "doc", 1), volume("v-1", "n", "dock", 1), volume("v-2", "", "doc", 1), volume("v-4", "n", "do%", 1), volume("v-5", "n", "", 1),
		} {
			if err := tx.InsertVolume(v); err != nil {
				return err
			}
		}
		return nil
	})
	list := func(namespace *string, prefix, after string, limit int) []string {
		return look(d, func(tx store.Tx) ([]string, error) {
			all, err := tx.Volumes(namespace, prefix, after, limit)
			var ids []string
			for _, v := range all {
				ids = append(ids, v.ID)
			}
			return ids, err
		})
	}
	same(d, "all", list(nil, "", "", 0), []string{"v-1", "v-2", "v-3", "v-4", "v-5"})
	same(d, "of a namespace", list(ptr("n"), "", "", 0), []string{"v-1", "v-3", "v-4", "v-5"})
	same(d, "of the empty one", list(ptr(""), "", "", 0), []string{"v-2"})
	same(d, "by prefix", list(ptr("n"), "doc", "", 0), []string{"v-1", "v-3"})
	same(d, "by a prefix with a wildcard of SQL", list(nil, "do%", "", 0), []string{"v-4"})
	same(d, "a page", list(nil, "", "v-1", 2), []string{"v-2", "v-3"})
	same(d, "the page after the last", list(nil, "", "v-5", 2), nil)
}
