package drone

import (
	"context"
	"errors"
	"sync"
	"time"

	"plane"
	"plane/internal/runtime"
)

const maxGraves = 32

// graves are the latest ended backends whose output is still kept, so that
// people can read why they ended.
type graves struct {
	mu  sync.Mutex // guards the field below
	all []grave    // oldest first
}

type grave struct {
	id plane.BackendID
	at time.Time
}

func (g *graves) add(id plane.BackendID, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, grave{id, at})
}

// expired takes out those of before, and the oldest of too many.
func (g *graves) expired(before time.Time) (ids []plane.BackendID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.all) > 0 && (!g.all[0].at.After(before) || len(g.all) > maxGraves) {
		ids = append(ids, g.all[0].id)
		g.all = g.all[1:]
	}
	return ids
}

// sweepGraves forgets what has been kept for long enough.
func (c *crew) sweepGraves(ctx context.Context) {
	if ids := c.graves.expired(time.Now().Add(-c.keepEnded)); len(ids) > 0 {
		c.tasks.Go(func() { c.forget(ctx, ids) })
	}
}

// forget has the runtimes drop what they keep of ended backends.
func (c *crew) forget(ctx context.Context, ids []plane.BackendID) {
	for _, id := range ids {
		for _, rt := range c.Runtimes {
			p, err := rt.Attach(ctx, id)
			if err == nil {
				err = p.Forget(ctx)
			}
			if err != nil && !errors.Is(err, runtime.ErrGone) && ctx.Err() == nil {
				c.Log.Warn("runtime could not forget an ended backend", "backend", id, "error", err)
			}
		}
	}
}
