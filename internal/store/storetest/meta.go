package storetest

import (
	"plane"
	"plane/internal/store"
)

func testMeta(d db) {
	first := look(d, store.Tx.StoreEpoch)
	if first.StoreID == "" || first.Number != 1 {
		d.Fatalf("a new store has epoch %+v, want an id and number 1", first)
	}
	one := change(d, store.Tx.NextGeneration)
	two := change(d, store.Tx.NextGeneration)
	if one.Epoch() != 1 || two <= one {
		d.Errorf("generations %d, %d: want rising ones of epoch 1", one, two)
	}
	raised := change(d, func(tx store.Tx) (plane.StoreEpoch, error) { return tx.RaiseStoreEpoch(0) })
	same(d, "raised from 1 with least 0", raised, plane.StoreEpoch{StoreID: first.StoreID, Number: 2})
	raised = change(d, func(tx store.Tx) (plane.StoreEpoch, error) { return tx.RaiseStoreEpoch(41) })
	same(d, "raised with least 41", raised.Number, 42)
	same(d, "epoch read again", look(d, store.Tx.StoreEpoch), raised)
	three := change(d, store.Tx.NextGeneration)
	if three.Epoch() != 42 || three <= two {
		d.Errorf("generation %d after %d: want a higher one of epoch 42", three, two)
	}
	if err := d.store.Update(d.Context(), func(tx store.Tx) error {
		_, err := tx.RaiseStoreEpoch(plane.MaxStoreEpoch)
		return err
	}); err == nil {
		d.Error("an epoch beyond the largest that a generation can carry was given")
	}
	same(d, "epoch after a refused raise", look(d, store.Tx.StoreEpoch), raised)

	d.wants(store.ErrNotFound, "unknown meta", func(tx store.Tx) error {
		_, err := tx.Meta("a")
		return err
	})
	for _, v := range []string{"1", "", "2"} {
		d.do(func(tx store.Tx) error { return tx.SetMeta("a", v) })
		same(d, "meta", look(d, func(tx store.Tx) (string, error) { return tx.Meta("a") }), v)
	}
}
