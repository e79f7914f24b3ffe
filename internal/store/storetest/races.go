package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"plane"
	"plane/internal/store"
)

// winners runs fn n times at once and counts the times it won.
func winners(d db, n int, fn func(tx store.Tx, i int) (bool, error)) int64 {
	d.Helper()
	var won atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			mine := false
			err := d.store.Update(d.Context(), func(tx store.Tx) (err error) {
				mine, err = fn(tx, i)
				return err
			})
			if err != nil {
				d.Error(err)
			} else if mine {
				won.Add(1)
			}
		})
	}
	close(begin)
	wg.Wait()
	return won.Load()
}

func testRace(d db) {
	for round := range 5 {
		name := fmt.Sprint("doc-", round)
		won := winners(d, 500, func(tx store.Tx, i int) (bool, error) {
			err := tx.InsertKey(key(name, fmt.Sprint("b-", i)))
			if errors.Is(err, store.ErrConflict) {
				return false, nil
			}
			return err == nil, err
		})
		same(d, "winners of a new key", won, 1)
		k := look(d, func(tx store.Tx) (store.Key, error) { return tx.Key("", name) })
		won = winners(d, 50, func(tx store.Tx, _ int) (bool, error) { return tx.DeleteKey("", name, k.Backend) })
		same(d, "winners of a key's release", won, 1)
	}
}

func testGenerationRace(d db) {
	const n = 200
	got := make([]plane.Generation, n)
	winners(d, n, func(tx store.Tx, i int) (_ bool, err error) {
		got[i], err = tx.NextGeneration()
		return true, err
	})
	slices.Sort(got)
	same(d, "different generations", len(slices.Compact(got)), n)
}

func testEpochRace(d db) {
	d.do(put(drone("dr-1", "a.example")))
	won := winners(d, 100, func(tx store.Tx, _ int) (bool, error) { return tx.RaiseEpoch("dr-1", plane.Fast, 3, 0) })
	same(d, "winners of one epoch's end", won, 1)
	same(d, "epochs", getDrone(d, "dr-1").Epochs, plane.Epochs{4, 3, 3})
	won = winners(d, 100, func(tx store.Tx, _ int) (bool, error) { return tx.Renew("dr-1", "ag-dr-1", 11, plane.Epochs{4, 3, 3}) })
	same(d, "winners of one renewal number", won, 1)
}

func testStateRace(d db) {
	d.do(insert(backend("b-1", "", "a", "dr-1", 1)))
	ready := plane.State{Status: plane.Ready, Address: "127.0.0.1:1"}
	won := winners(d, 100, func(tx store.Tx, _ int) (bool, error) { return tx.RecordState("b-1", ready, day) })
	same(d, "winners of one status", won, 1)
	same(d, "steps", len(history(d, "b-1")), 2)
	won = winners(d, 50, func(tx store.Tx, _ int) (bool, error) {
		_, err := tx.Revoke("b-1", "ann")
		return true, err
	})
	same(d, "revocations", won, 50)
	same(d, "number", get(d, "b-1").Revocation, 50)
	same(d, "live", count(d, "dr-1"), 1)
}
