package controller

import (
	"cmp"
	"context"
	"slices"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

const (
	overviewMost   = 200       // backends
	overviewEnded  = 2000      // ended ones that are looked through for keys without a live one
	overviewWithin = time.Hour // since they ended
)

// overview is what the start page of plane dev shows of a cluster. Elsewhere
// nobody is told what runs.
func (c *Controller) overview(ctx context.Context, s *proxySession, m wire.OverviewAsk) wire.Message {
	out := wire.Overview{ID: m.ID, Apps: []wire.OverviewApp{}, Backends: []wire.OverviewBackend{}}
	if !c.cfg.Dev {
		out.Error = wireError(plane.NewError(plane.NotFound, "There is no start page here; plane dev has one."))
		return out
	}
	var live, ended []store.Backend
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		if out.Apps, err = c.overviewApps(tx); err != nil {
			return err
		}
		if out.Total, err = tx.CountLiveIn(s.cluster); err != nil {
			return err
		}
		if live, err = tx.Backends(store.Filter{Cluster: s.cluster, Live: true, Limit: pageLimit}); err != nil {
			return err
		}
		ended, err = tx.Ended(tx.Now().Add(-overviewWithin), overviewEnded)
		return err
	})
	if err != nil {
		c.log.Warn("could not read what the start page shows", "error", err)
		out.Error = wireError(errBusy)
		return out
	}
	slices.SortFunc(live, func(a, b store.Backend) int { return cmp.Compare(b.Generation, a.Generation) })
	seen := map[place]bool{}
	for _, b := range append(live, ended...) {
		if p := placeOf(b.Key); len(out.Backends) < overviewMost && !seen[p] && b.Cluster == s.cluster {
			seen[p] = true
			if b.Release > 0 && b.State.Status == plane.Terminated && !c.serves(b.App) {
				continue // its address leads nowhere now
			}
			out.Backends = append(out.Backends, c.overviewBackend(b))
		}
	}
	return out
}

func (c *Controller) overviewApps(tx store.Tx) ([]wire.OverviewApp, error) {
	rows, err := tx.Apps()
	if err != nil {
		return nil, err
	}
	all := []wire.OverviewApp{}
	for _, row := range rows {
		if row.Name == "" && !c.isDefault("") || !c.serves(row.Name) {
			continue // that of a former command
		}
		r, err := tx.Release(row.Name, row.Release)
		if err != nil {
			return nil, err
		}
		all = append(all, wire.OverviewApp{Name: row.Name, Default: c.isDefault(row.Name), Runs: runs(r.Template), Release: r.Number})
	}
	return all, nil
}

func (c *Controller) overviewBackend(b store.Backend) wire.OverviewBackend {
	v := c.viewOf(b)
	out := wire.OverviewBackend{
		Key: b.Key, App: b.App, Backend: b.ID, Status: b.State.Status, SinceMS: v.Since,
		Connections: v.Connections, Memory: v.MemoryBytes,
	}
	if b.State.Status == plane.Terminated {
		out.End = endSentence(b.State)
	}
	return out
}
