package controller

import (
	"context"
	"errors"
	"strconv"
	"time"

	"plane"
	"plane/internal/store"
)

const metaFrozen = "frozen_until" // Unix nanoseconds of the database's clock

// raiseStore notes that nodes remember a later history of the store than the
// store does: it was restored, or a failover lost commits. A new store epoch
// begins, and for one lease nothing is granted.
func (c *Controller) raiseStore(tx store.Tx, least int64) (plane.StoreEpoch, error) {
	e, err := tx.RaiseStoreEpoch(least)
	if err != nil {
		return e, err
	}
	// Before the commit, so that no grant slips in after it; in vain if it fails.
	c.freeze(plane.Balanced.Terms().Store)
	until := tx.Now().Add(plane.Balanced.Terms().Store)
	if err := tx.SetMeta(metaFrozen, strconv.FormatInt(until.UnixNano(), 10)); err != nil {
		return e, err
	}
	return e, tx.InsertEvent(store.Event{
		Kind: "store-epoch", Actor: "system",
		Text: "Nodes remember more than the store: it was restored or failed over. Nothing is started until older leases have run out.",
	})
}

func (c *Controller) recallFreeze(ctx context.Context) error {
	return c.store.View(ctx, func(tx store.Tx) error {
		text, err := tx.Meta(metaFrozen)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		until, err := strconv.ParseInt(text, 10, 64)
		c.freeze(time.Unix(0, until).Sub(tx.Now()))
		return err
	})
}

// freeze begins, or goes on with, a time in which nothing is granted. It is
// kept on the controller's own clock: a step of the database's must not end
// it early, nor draw it out.
func (c *Controller) freeze(left time.Duration) {
	if left > 0 {
		c.frozen.Store(int64(c.clock.clock().Add(min(left, plane.Balanced.Terms().Store))))
	}
}

// frozenFor is how much longer nothing is granted.
func (c *Controller) frozenFor() time.Duration {
	until := plane.Instant(c.frozen.Load())
	if until == 0 {
		return 0
	}
	return max(0, until.Sub(c.clock.clock()))
}
