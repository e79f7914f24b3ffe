package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

const (
	cleanupEvery  = time.Minute // at most: half of what is kept, if that is less
	cleanupBatch  = 500
	cleanupRounds = 100 // batches of each kind in one go
	crashKept     = time.Hour
	proxiesKept   = 24 * time.Hour
)

// cleanupPause is the time between clean-ups.
func (c Config) cleanupPause() time.Duration { return min(cleanupEvery, c.CleanupMinAge/2) }

// cleanup deletes what is too old, in batches that let others in between, and
// what memory holds of backends that have ended.
func (c *Controller) cleanup(ctx context.Context) error {
	work := []struct {
		what string
		age  time.Duration
		del  func(tx store.Tx, before time.Time) (int, error)
	}{
		{"ended backends", c.cfg.CleanupMinAge, func(tx store.Tx, t time.Time) (int, error) { return tx.DeleteEnded(t, cleanupBatch) }},
		{"events", c.cfg.CleanupMinAge, func(tx store.Tx, t time.Time) (int, error) { return tx.DeleteEvents(t, cleanupBatch) }},
		{"proxies", proxiesKept, func(tx store.Tx, t time.Time) (int, error) { return tx.DeleteProxies(t, cleanupBatch) }},
		{"crash counts", crashKept, func(tx store.Tx, t time.Time) (int, error) { return tx.DeleteCrashes(t, cleanupBatch) }},
	}
	var errs []error
	for _, w := range work {
		for range cleanupRounds {
			n := 0
			err := c.store.Update(ctx, func(tx store.Tx) (err error) {
				n, err = w.del(tx, tx.Now().Add(-w.age))
				return err
			})
			if err != nil {
				errs = append(errs, fmt.Errorf("delete %s: %w", w.what, err))
			}
			if err != nil || n < cleanupBatch {
				break
			}
		}
	}
	return errors.Join(append(errs, c.cleanReleases(ctx), c.forgetEnded(ctx))...)
}

// cleanReleases deletes what is older than the latest releases of an app and
// used by nothing.
func (c *Controller) cleanReleases(ctx context.Context) error {
	var apps []store.App
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		apps, err = tx.Apps()
		return err
	})
	if err != nil {
		return fmt.Errorf("list apps: %w", err)
	}
	for _, app := range apps {
		for n := cleanupBatch; n == cleanupBatch; {
			err := c.store.Update(ctx, func(tx store.Tx) error {
				kept, err := tx.Releases(app.Name, releasesKept)
				if err != nil || len(kept) < releasesKept {
					n = 0
					return err
				}
				n, err = tx.DeleteReleases(app.Name, kept[len(kept)-1].Number, cleanupBatch)
				return err
			})
			if err != nil {
				return fmt.Errorf("delete releases of app %q: %w", app.Name, err)
			}
		}
	}
	return nil
}

// forgetEnded drops what nodes reported of backends after their end.
func (c *Controller) forgetEnded(ctx context.Context) error {
	live := map[plane.BackendID]bool{}
	err := c.eachLive(ctx, func(b store.Backend) error {
		live[b.ID] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("list live backends: %w", err)
	}
	c.proxies.mu.RLock()
	sessions := make([]*proxySession, 0, len(c.proxies.byName))
	for _, s := range c.proxies.byName {
		sessions = append(sessions, s)
	}
	c.proxies.mu.RUnlock()
	for _, s := range sessions {
		for _, id := range s.reported() {
			if !live[id] && c.hasEnded(ctx, id) {
				s.drop(id)
			}
		}
	}
	for _, s := range c.drones.all() {
		s.usage.keep(live)
	}
	for _, id := range c.live.allDoomed() {
		if !live[id] && c.hasEnded(ctx, id) {
			c.live.ended(id)
		}
	}
	for _, id := range c.replaced.all() {
		if !live[id] && c.hasEnded(ctx, id) {
			c.replaced.forget(id)
		}
	}
	return nil
}

// hasEnded looks once more: one that wasn't seen live may have begun since.
func (c *Controller) hasEnded(ctx context.Context, id plane.BackendID) bool {
	b, err := c.backend(ctx, id)
	return plane.IsKind(err, plane.NotFound) || err == nil && b.State.Status == plane.Terminated
}
