// Package storetest holds every implementation of store.Store to the text of
// its interface: what each method does, what it leaves alone, and what a
// transaction is worth under load.
package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
)

// Run tests the stores that open makes: each one new and empty, closed by the
// test's clean-up.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(d db)
	}{
		{"store epoch and generations rise", testMeta},
		{"one row per key", testKeys},
		{"crashes", testCrashes},
		{"a backend comes back as it was written", testBackend},
		{"statuses only rise", testRecordState},
		{"backends are found by filter", testBackends},
		{"revocations count up", testRevoke},
		{"ended backends are deleted in batches and their ids stay used", testDeleteEnded},
		{"drones keep their lease", testDrones},
		{"a renewal moves only a current lease", testRenew},
		{"an epoch ends once", testRaiseEpoch},
		{"a late offline never overwrites", testDisconnect},
		{"proxies and controllers", testOtherNodes},
		{"actions stay until acknowledged", testActions},
		{"events in order", testEvents},
		{"secrets", testSecrets},
		{"apps point at their releases", testApps},
		{"old releases are deleted, numbers never used again", testReleases},
		{"a release keeps the first digest of its image", testDigests},
		{"live backends are counted", testCounts},
		{"ended backends, newest first", testEnded},
		{"one volume per key, attached upward only", testVolumes},
		{"volumes are found by filter", testVolumeList},
		{"trap 25: nothing else changes", testNeighbours},
		{"now stands still", testNow},
		{"a failed closure leaves nothing", testRollback},
		{"a failed closure undoes no other", testShared},
		{"a caller who leaves undoes no other", testLeaver},
		{"a view can't write", testViewOnlyReads},
		{"a view is one snapshot", testSnapshot},
		{"a view sees every update that returned", testFresh},
		{"500 inserts of one key, one wins", testRace},
		{"generations never repeat", testGenerationRace},
		{"an epoch is ended by one of many", testEpochRace},
		{"a state is recorded by one of many", testStateRace},
		{"closed means closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(db{t, open(t)}) })
	}
}

// db is a store with the test it belongs to.
type db struct {
	*testing.T
	store store.Store
}

// do is an Update that must succeed.
func (d db) do(fn func(store.Tx) error) {
	d.Helper()
	if err := d.store.Update(d.Context(), fn); err != nil {
		d.Fatalf("update: %v", err)
	}
}

// change is an Update that must succeed and gives a value.
func change[T any](d db, fn func(store.Tx) (T, error)) T {
	d.Helper()
	var v T
	d.do(func(tx store.Tx) (err error) {
		v, err = fn(tx)
		return err
	})
	return v
}

// look is a View that must succeed and gives a value.
func look[T any](d db, fn func(store.Tx) (T, error)) T {
	d.Helper()
	var v T
	err := d.store.View(d.Context(), func(tx store.Tx) (err error) {
		v, err = fn(tx)
		return err
	})
	if err != nil {
		d.Fatalf("view: %v", err)
	}
	return v
}

func same[T any](d db, what string, got, want T) {
	d.Helper()
	if !reflect.DeepEqual(got, want) {
		d.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// wants runs fn in a transaction and wants that error of it. The transaction
// itself must go on.
func (d db) wants(want error, what string, fn func(store.Tx) error) {
	d.Helper()
	d.do(func(tx store.Tx) error {
		if got := fn(tx); !errors.Is(got, want) {
			return fmt.Errorf("%s: got error %v, want %v", what, got, want)
		}
		return nil
	})
}

func ptr[T any](v T) *T { return &v }

// day is a fixed time at the resolution that stores keep.
var day = time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC)

// backend makes a live backend.
func backend(id, namespace, name, drone string, generation int64) store.Backend {
	return store.Backend{
		ID:         plane.BackendID(id),
		Key:        plane.Key{Namespace: namespace, Name: name},
		Generation: plane.NewGeneration(1, uint32(generation)),
		Cluster:    "a.example",
		Drone:      plane.NodeName(drone),
		Policy:     plane.Balanced,
		Epoch:      1,
		CreatedAt:  day,
		State:      plane.State{Status: plane.Scheduled},
	}
}

func insert(backends ...store.Backend) func(store.Tx) error {
	return func(tx store.Tx) error {
		for _, b := range backends {
			if err := tx.InsertBackend(b); err != nil {
				return fmt.Errorf("insert %s: %w", b.ID, err)
			}
		}
		return nil
	}
}

func record(tx store.Tx, id string, s plane.Status, at time.Time) error {
	ok, err := tx.RecordState(plane.BackendID(id), plane.State{Status: s}, at)
	if err == nil && !ok {
		return fmt.Errorf("%s was not recorded for %s", s, id)
	}
	return err
}
