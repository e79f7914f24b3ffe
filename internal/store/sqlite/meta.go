package sqlite

import (
	"fmt"

	"plane"
)

// firstEpoch gives a new database its identity.
func (t *tx) firstEpoch(id string) error {
	_, err := t.exec(`INSERT INTO store_epoch (only_one, store_id, number, counter) VALUES (1, ?, 1, 0)
		ON CONFLICT DO NOTHING`, id)
	return err
}

func (t *tx) StoreEpoch() (plane.StoreEpoch, error) {
	var e plane.StoreEpoch
	err := t.get(`SELECT store_id, number FROM store_epoch WHERE only_one = 1`, func(r *row) {
		e = plane.StoreEpoch{StoreID: r.text(), Number: r.number()}
	})
	return e, err
}

func (t *tx) RaiseStoreEpoch(least int64) (plane.StoreEpoch, error) {
	if least >= plane.MaxStoreEpoch {
		return plane.StoreEpoch{}, fmt.Errorf("store epoch %d: numbers end at %d", least, plane.MaxStoreEpoch)
	}
	var e plane.StoreEpoch
	err := t.returning(`UPDATE store_epoch SET number = 1 + max(number, ?), counter = 0 WHERE only_one = 1
		RETURNING store_id, number`, func(r *row) {
		e = plane.StoreEpoch{StoreID: r.text(), Number: r.number()}
	}, least)
	if err == nil && e.Number > plane.MaxStoreEpoch {
		err = fmt.Errorf("store epoch: numbers end at %d", plane.MaxStoreEpoch)
	}
	return e, err
}

func (t *tx) NextGeneration() (plane.Generation, error) {
	var epoch, counter int64
	err := t.returning(`UPDATE store_epoch SET counter = counter + 1 WHERE only_one = 1 RETURNING number, counter`,
		func(r *row) { epoch, counter = r.number(), r.number() })
	if err != nil {
		return 0, err
	}
	if counter >= 1<<32 {
		return 0, fmt.Errorf("store epoch %d has given all its generations; raise the store epoch", epoch)
	}
	return plane.NewGeneration(epoch, uint32(counter)), nil
}

func (t *tx) Meta(name string) (string, error) {
	var v string
	err := t.get(`SELECT value FROM meta WHERE name = ?`, func(r *row) { v = r.text() }, name)
	return v, err
}

func (t *tx) SetMeta(name, value string) error {
	_, err := t.exec(`INSERT INTO meta (name, value) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}
