package controller

import (
	"context"
	"errors"
	"fmt"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// answerKey gets or starts the backend of a key URL, and answers with its
// route. It doesn't wait for it to be ready: the route's updates tell.
func (c *Controller) answerKey(ctx context.Context, s *proxySession, m wire.KeyAsk) wire.Message {
	key := plane.Key{Name: m.Name, Namespace: m.App}
	a := wire.KeyAnswer{ID: m.ID, Key: key}
	r, err := c.routeOfKey(ctx, s, m, key)
	if err != nil {
		var e *plane.Error
		if !errors.As(err, &e) && ctx.Err() == nil {
			c.log.Error("could not answer for a key", "request", m.RequestID, "error", err)
		}
		a.Error = wireError(err)
		return a
	}
	a.Route = &r
	return a
}

func (c *Controller) routeOfKey(ctx context.Context, s *proxySession, m wire.KeyAsk, key plane.Key) (plane.Route, error) {
	if m.Cluster != "" && m.Cluster != s.cluster {
		return plane.Route{}, plane.NewError(plane.NotFound, fmt.Sprintf("This proxy is not of cluster %s.", m.Cluster))
	}
	if bad := key.Check(); bad != nil {
		return plane.Route{}, bad
	}
	app := c.cfg.Unnamed
	if m.App != "" || app == nil {
		return plane.Route{}, plane.NewError(plane.NotFound, fmt.Sprintf("There is no app %q.", m.App))
	}
	w := want{key: key, known: true, app: app.Name}
	if !m.NoStart {
		spec := app.Template.Spec()
		cluster := string(s.cluster)
		spec.Cluster, spec.ID = &cluster, nil
		w.spec = &spec
	}
	for {
		g, err := c.ensure(ctx, Actor{Kind: "node", Name: string(s.name), RequestID: m.RequestID}, w)
		if err != nil {
			return plane.Route{}, err
		}
		var r plane.Route
		err = c.store.View(ctx, func(tx store.Tx) (err error) {
			_, r, err = c.readRoute(tx, g.live.backend)
			return err
		})
		if err != nil {
			return plane.Route{}, fmt.Errorf("read route: %w", err)
		}
		if r.Status == plane.Terminated && !m.NoStart && ctx.Err() == nil {
			continue // it ended in between; a crash loop ends this loop
		}
		if r.Cluster != s.cluster {
			return plane.Route{}, plane.NewError(plane.KeyHeld, fmt.Sprintf("The key is held in cluster %s.", r.Cluster))
		}
		return r, nil
	}
}
