package storetest

import (
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

func testEvents(d db) {
	same(d, "last event of an empty log", look(d, store.Tx.LastEvent), 0)
	first := store.Event{
		Seq: 99, At: day, Kind: "connect", Actor: "operator", Key: plane.Key{Namespace: "n", Name: "doc", Tag: "t"}, Backend: "b-1",
		Generation: plane.NewGeneration(1, 1), Node: "dr-1", RequestID: "r", Text: "ü",
	}
	d.do(func(tx store.Tx) error { return tx.InsertEvent(first) })
	for i := range 5 {
		d.do(func(tx store.Tx) error {
			return tx.InsertEvent(store.Event{Kind: "e", Key: plane.Key{Namespace: "n", Name: fmt.Sprint("doc", i%2)}, Text: fmt.Sprint(i)})
		})
	}
	page := func(after int64, limit int) []store.Event {
		return look(d, func(tx store.Tx) ([]store.Event, error) { return tx.Events(after, limit) })
	}
	all := page(0, 100)
	if len(all) != 6 {
		d.Fatalf("%d events, want 6", len(all))
	}
	if age := time.Since(all[0].At); age < -time.Minute || age > time.Minute {
		d.Errorf("event at %v, want the database's now", all[0].At)
	}
	for i := 1; i < len(all); i++ {
		if all[i].Seq <= all[i-1].Seq || all[i].At.Before(all[i-1].At) {
			d.Errorf("event %d: %+v after %+v", i, all[i], all[i-1])
		}
	}
	first.Seq, first.At = all[0].Seq, all[0].At
	same(d, "event", all[0], first)
	same(d, "page", page(all[1].Seq, 2), all[2:4])
	same(d, "last event", look(d, store.Tx.LastEvent), all[5].Seq)
	of := func(name string, limit int) []store.Event {
		return look(d, func(tx store.Tx) ([]store.Event, error) { return tx.KeyEvents("n", name, limit) })
	}
	same(d, "of a key, newest first", of("doc0", 2), []store.Event{all[5], all[3]})
	same(d, "of a key", of("doc", 9), all[:1])

	del := func(before time.Time, limit int) int {
		return change(d, func(tx store.Tx) (int, error) { return tx.DeleteEvents(before, limit) })
	}
	same(d, "deleted too early", del(all[0].At, 10), 0)
	later := all[5].At.Add(time.Hour)
	same(d, "deleted, limit 4", del(later, 4), 4)
	same(d, "left", page(0, 10), all[4:])
	same(d, "deleted, the rest", del(later, 4), 2)
	// A follower's cursor must stay good over an emptied log.
	same(d, "last event of an emptied log", look(d, store.Tx.LastEvent), all[5].Seq)
	d.do(func(tx store.Tx) error { return tx.InsertEvent(store.Event{Kind: "e"}) })
	same(d, "events after the cursor", len(page(all[5].Seq, 10)), 1)
}
