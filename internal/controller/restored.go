package controller

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"plane"
	"plane/internal/store"
)

// Restoration says what a store was put back from, and what is known of those
// that may remember more than it does.
type Restoration struct {
	From  time.Time      // when the backup was made
	Least int64          // the highest number of a store epoch that anybody here has seen
	Gone  plane.NodeName // a drone of which surely nothing runs any more; "" = none
}

// Restored prepares a store that comes from a backup, before a controller opens
// it: no generation of the lost time is given again, and what the store doesn't
// know of may run on its lease before anything is started. Drones that still
// run backends give their inventory. It returns for how long nothing is started.
func Restored(tx store.Tx, r Restoration) (plane.StoreEpoch, time.Duration, error) {
	e, err := tx.RaiseStoreEpoch(r.Least)
	if err != nil {
		return e, 0, err
	}
	drones, err := tx.Drones("")
	if err != nil {
		return e, 0, err
	}
	others := r.Gone == ""
	for _, d := range drones {
		if d.Name != r.Gone {
			others = true
			continue
		}
		// The rows of ended epochs are ended when the drone comes.
		for _, p := range plane.Policies {
			if _, err := tx.RaiseEpoch(d.Name, p, d.Epochs.Of(p), 0); err != nil {
				return e, 0, err
			}
		}
	}
	wait := time.Duration(0)
	if others {
		wait = plane.Balanced.Terms().Store
	}
	if err := tx.SetMeta(metaFrozen, strconv.FormatInt(tx.Now().Add(wait).UnixNano(), 10)); err != nil {
		return e, 0, err
	}
	return e, wait, tx.InsertEvent(store.Event{
		Kind: "restore", Actor: "operator",
		Text: fmt.Sprintf("Restored from a backup of %s; generations go on in store epoch %d.", r.From.UTC().Format(time.DateTime+" UTC"), e.Number),
	})
}

// KeepVolumes tells a store from a backup of data that came to be after it, on
// disks that weren't put back: kept data must never be followed by an empty
// directory. Where a key has other data now, that counts.
func KeepVolumes(tx store.Tx, now []store.Volume) error {
	for _, v := range now {
		has, err := tx.Volume(v.Namespace, v.Name)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		case has.ID == v.ID:
			continue
		default:
			if _, err := tx.DeleteVolume(has.ID); err != nil {
				return err
			}
		}
		if err := tx.InsertVolume(v); err != nil {
			return fmt.Errorf("keep the data of %s: %w", plane.Key{Namespace: v.Namespace, Name: v.Name}, err)
		}
		if v.Made {
			if err := tx.MakeVolume(v.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
