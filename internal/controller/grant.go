package controller

import (
	"errors"
	"fmt"

	"plane"
	"plane/internal/store"
)

// grant is what a spawn for that drone stands on now. errRaced: choose again.
func (c *Controller) grant(tx store.Tx, drone plane.NodeName, p plane.Policy) (plane.Grant, error) {
	epoch, err := tx.StoreEpoch()
	if err != nil {
		return plane.Grant{}, err
	}
	if wait := c.frozenFor(); wait > 0 {
		e := plane.NewError(plane.Unavailable, "The store was restored or failed over; nothing is started until older leases have run out.")
		e.Retry = wait
		return plane.Grant{}, e
	}
	d, err := tx.Drone(drone)
	if errors.Is(err, store.ErrNotFound) {
		return plane.Grant{}, errRaced
	}
	if err != nil {
		return plane.Grant{}, err
	}
	if d.Draining || d.Controller == "" || d.Store != epoch {
		return plane.Grant{}, errRaced
	}
	if err := stickySettled(tx, p, epoch); err != nil {
		return plane.Grant{}, err
	}
	return plane.Grant{Policy: p, Epoch: d.Epochs.Of(p), Renewal: d.Renewal, Store: epoch}, nil
}

// stickySettled: sticky leases outlive every freeze, so after the store lost
// commits only all drones together can say which keys are held.
func stickySettled(tx store.Tx, p plane.Policy, epoch plane.StoreEpoch) error {
	if p != plane.Sticky || epoch.Number == 1 {
		return nil
	}
	drones, err := tx.Drones("")
	if err != nil {
		return err
	}
	for _, d := range drones {
		if d.Store != epoch {
			return plane.NewError(plane.Unavailable, fmt.Sprintf(
				"The store was restored or failed over, and drone %s hasn't said yet which sticky backends it runs; wait for it or remove it.", d.Name))
		}
	}
	return nil
}
