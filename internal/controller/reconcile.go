package controller

import (
	"errors"
	"slices"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// reconcile compares the drone's inventory with the rows.
func (c *Controller) reconcile(tx store.Tx, d store.Drone, h wire.DroneHello, known bool, live []store.Backend, out *admission) error {
	has := map[plane.BackendID]bool{}
	for _, held := range h.Inventory {
		has[held.Backend] = true
		if held.State.Status == plane.Terminated {
			continue // its report follows
		}
		keep, err := c.claimsOf(tx, d, held, known, out)
		if err != nil {
			return err
		}
		if !keep {
			out.welcome.Kill = append(out.welcome.Kill, held.Backend)
		}
	}
	for _, b := range live {
		if b.Epoch != d.Epochs.Of(b.Policy) {
			if err := endLost(tx, b, "its drone ended that lease"); err != nil {
				return err
			}
			out.ended = append(out.ended, b)
			continue
		}
		if has[b.ID] {
			continue
		}
		pending, err := tx.Pending(b.ID)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(pending, func(a store.Action) bool { return a.Kind == actionSpawn }) {
			out.missing = append(out.missing, b.ID)
		}
	}
	return nil
}

// claimsOf decides whether a drone keeps a backend of its inventory. One that
// the store lost with its commits is adopted, if it is of the highest
// generation of its key: the older was granted away before it came to be.
func (c *Controller) claimsOf(tx store.Tx, d store.Drone, held wire.Held, known bool, out *admission) (bool, error) {
	b, err := tx.Backend(held.Backend)
	if err == nil {
		return b.Drone == d.Name && b.Generation == held.Generation && b.State.Status != plane.Terminated &&
			b.Epoch == d.Epochs.Of(b.Policy), nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	if !known || !held.Policy.Valid() || held.Epoch != d.Epochs.Of(held.Policy) ||
		held.Generation.Epoch() >= out.welcome.Store.Number {
		return false, nil
	}
	row, err := tx.Key(held.Key.Namespace, held.Key.Name)
	switch {
	case err == nil && row.Generation > held.Generation:
		return false, nil
	case err == nil:
		old, err := tx.Backend(row.Backend)
		if err != nil {
			return false, err
		}
		if err := endLost(tx, old, "a later generation of its key was found running after the store had lost commits"); err != nil {
			return false, err
		}
		out.ended = append(out.ended, old)
	case !errors.Is(err, store.ErrNotFound):
		return false, err
	}
	b = store.Backend{
		ID: held.Backend, Key: held.Key, Generation: held.Generation, Cluster: d.Cluster, Drone: d.Name,
		Spec: held.Spec, Policy: held.Policy, Epoch: held.Epoch, Static: held.Spec.UseStaticToken,
		App: held.App, Release: held.Release, Volume: held.Volume, Actor: "system", Decision: "Found running after the store had lost commits.", State: held.State,
	}
	if held.Spec.Subdomain != nil {
		b.Subdomain = *held.Spec.Subdomain
	}
	if err := tx.InsertBackend(b); errors.Is(err, store.ErrConflict) {
		return false, nil // it ended here and was cleaned up
	} else if err != nil {
		return false, err
	}
	if err := tx.InsertKey(store.Key{Key: b.Key, Backend: b.ID, Generation: b.Generation}); err != nil {
		return false, err
	}
	if err := adoptData(tx, b); err != nil {
		return false, err
	}
	out.adopted = append(out.adopted, b)
	return true, nil
}

// adoptData makes the data that an adopted backend has its key's again, if the
// store lost its row too.
func adoptData(tx store.Tx, b store.Backend) error {
	if b.Volume == "" {
		return nil
	}
	has, err := tx.Volume(b.Key.Namespace, b.Key.Name)
	switch {
	case err == nil && has.ID == b.Volume:
		_, err = tx.AttachVolume(b.Volume, b.Generation)
	case err == nil && has.Generation > b.Generation: // given up, and begun anew
		return nil
	case err == nil: // what the store has was given up; that was lost too
		_, err = tx.DeleteVolume(has.ID)
	case isNotFound(err):
		err = nil
	}
	if err == nil && has.ID != b.Volume {
		err = tx.InsertVolume(store.Volume{
			ID: b.Volume, Namespace: b.Key.Namespace, Name: b.Key.Name, App: b.App, Drone: b.Drone, Generation: b.Generation,
		})
	}
	if err != nil {
		return err
	}
	return tx.MakeVolume(b.Volume)
}
