package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// replacements are backends whose end was asked for because their app changed.
// It is a hint for open pages, which then load themselves again.
type replacements struct {
	mu  sync.Mutex // guards ids
	ids map[plane.BackendID]struct{}
}

func (r *replacements) add(id plane.BackendID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids[id] = struct{}{}
}

func (r *replacements) has(id plane.BackendID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.ids[id]
	return ok
}

func (r *replacements) all() []plane.BackendID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.ids))
}

func (r *replacements) forget(id plane.BackendID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, id)
}

// Replace ends the live backends of an app softly, so that the next request for
// each key starts the current release, and says how many.
func (c *Controller) Replace(ctx context.Context, a Actor, app string) (int, error) {
	keys, err := c.replace(ctx, a, app, func(store.Backend, *appNow) bool { return true })
	return len(keys), err
}

// ReplaceOld is Replace for those of other releases than the current one. It
// gives their keys.
func (c *Controller) ReplaceOld(ctx context.Context, a Actor, app string) ([]plane.Key, error) {
	return c.replace(ctx, a, app, func(b store.Backend, now *appNow) bool { return b.Release != now.release })
}

func (c *Controller) replace(ctx context.Context, a Actor, app string, old func(store.Backend, *appNow) bool) ([]plane.Key, error) {
	if err := a.May(VerbApp, app); err != nil {
		return nil, err
	}
	now, err := c.appOf(ctx, app)
	if err != nil {
		return nil, c.appMissing(ctx, a, app, err)
	}
	text := fmt.Sprintf("%s changed (now release %d).", sentenceCase(calledApp(app)), now.release)
	keys, err := c.endOf(ctx, a, app, text, func(b store.Backend) bool { return old(b, now) })
	if err != nil {
		return keys, err
	}
	// What ended before it was ready isn't live, and may be mended.
	err = c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error { return tx.ForgetCrashes(app) })
	if err != nil {
		return keys, fmt.Errorf("forget crashes of app %q: %w", app, err)
	}
	c.tellChanged(app)
	return keys, nil
}

// tellChanged tells proxies that an app changed.
func (c *Controller) tellChanged(app string) {
	m := wire.AppChanged{App: app, Default: c.isDefault(app)}
	for _, s := range c.proxies.all() {
		_ = s.conn.Send(m)
	}
}

// endOf ends those of an app's live backends that are chosen, softly, and gives
// their keys. Pages that are open load themselves again.
func (c *Controller) endOf(ctx context.Context, a Actor, app, text string, chosen func(store.Backend) bool) ([]plane.Key, error) {
	live, err := c.liveOf(ctx, app)
	if err != nil {
		return nil, fmt.Errorf("list backends of app %q: %w", app, err)
	}
	var keys []plane.Key
	for _, b := range live {
		if b.State.Status.Ending() || !chosen(b) {
			continue
		}
		c.replaced.add(b.ID)
		if err := c.askEnd(ctx, a, b, plane.Soft, endAsk{kind: eventReplace, text: text}); err != nil && !plane.IsKind(err, plane.NotFound) {
			return keys, err
		}
		keys = append(keys, b.Key)
	}
	return keys, nil
}

// liveOf are the live backends of an app, of whatever release.
func (c *Controller) liveOf(ctx context.Context, app string) ([]store.Backend, error) {
	var all []store.Backend
	f := store.Filter{App: &app, Live: true, Limit: pageLimit}
	for {
		var page []store.Backend
		err := c.store.View(ctx, func(tx store.Tx) (err error) {
			page, err = tx.Backends(f)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, b := range page {
			if b.Release > 0 { // else it is of no app
				all = append(all, b)
			}
			f.After = b.ID
		}
		if len(page) < pageLimit {
			return all, nil
		}
	}
}
