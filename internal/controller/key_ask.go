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
	app := m.App
	if app == "" && c.cfg.DefaultApp != nil {
		app = *c.cfg.DefaultApp
	}
	key := plane.Key{Name: m.Name, Namespace: app}
	a := wire.KeyAnswer{ID: m.ID, Key: key}
	r, err := c.routeOfKey(ctx, s, m, key)
	c.cfg.Metrics.asked(err)
	if err != nil {
		var e *plane.Error
		if !errors.As(err, &e) && ctx.Err() == nil {
			c.log.Error("could not answer for a key", "key", key.String(), "request", m.RequestID, "error", err)
		}
		a.Error = c.keyError(err)
		return a
	}
	a.Route = &r
	return a
}

// keyError is an error as pages of key URLs show it: a program's output is
// nobody's business but a developer's, and a limit of ours is no fault of the
// visitor's.
func (c *Controller) keyError(err error) *wire.Error {
	e := wireError(err)
	if !c.cfg.Dev {
		e.Output = ""
	}
	if e.Kind == plane.LimitExceeded {
		e.Status = 503
	}
	return e
}

func (c *Controller) routeOfKey(ctx context.Context, s *proxySession, m wire.KeyAsk, key plane.Key) (plane.Route, error) {
	if m.Cluster != "" && m.Cluster != s.cluster {
		return plane.Route{}, plane.NewError(plane.NotFound, fmt.Sprintf("This proxy is not of cluster %s.", m.Cluster))
	}
	if bad := key.Check(); bad != nil {
		return plane.Route{}, bad
	}
	app, err := c.appOfKey(ctx, key.Namespace)
	if err != nil {
		return plane.Route{}, err
	}
	v := visit{session: s, ask: m, key: key, app: app}
	if c.accessOf(app.spec) == plane.AccessToken {
		// Who may not come in starts nothing; what runs has its own rule.
		look := v
		look.ask.NoStart = true
		r, err := c.visit(ctx, look)
		if err == nil {
			return r, nil
		}
		// Nor is told what the matter is.
		if refused := c.mayVisit(ctx, m.Visitor, key); refused != nil {
			return plane.Route{}, refused
		}
		if m.NoStart || !plane.IsKind(err, plane.KeyUnheldNoSpawnConfig) {
			return r, err
		}
	}
	return c.visit(ctx, v)
}

// appOfKey gives the app of a key URL, or says that there is none: the names of
// others are told to developers only.
func (c *Controller) appOfKey(ctx context.Context, name string) (*appNow, error) {
	// An app without a name is there only as the default: the store may have one
	// that a former `plane dev` ran.
	if name != "" || c.isDefault(name) {
		app, err := c.servedApp(ctx, name)
		if !isNotFound(err) {
			return app, err
		}
	}
	text := fmt.Sprintf("There is no app %q here.", name)
	if c.cfg.Dev {
		text = c.unknownApp(ctx, Actor{}, name)
	} else if name == "" {
		text = "This address names no app."
	}
	return nil, plane.NewError(plane.NotFound, text)
}

// visit is a request for a key's backend that came to a key URL.
type visit struct {
	session *proxySession
	ask     wire.KeyAsk
	key     plane.Key
	app     *appNow
}

// visit gets or starts the backend, if the visitor may see it.
func (c *Controller) visit(ctx context.Context, v visit) (plane.Route, error) {
	w := want{key: v.key, known: true}
	if !v.ask.NoStart {
		cluster := string(v.session.cluster)
		w.starts, w.app, w.spec = true, v.app, &plane.Spec{Cluster: &cluster}
	}
	actor := Actor{Kind: "node", Name: string(v.session.name), RequestID: v.ask.RequestID}
	for {
		g, err := c.ensure(ctx, actor, w)
		if plane.IsKind(err, plane.KeyUnheldNoSpawnConfig) {
			return plane.Route{}, c.nothingRuns(ctx, v.key)
		}
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
		if r.Status == plane.Terminated && !v.ask.NoStart && ctx.Err() == nil && (r.End == nil || !r.End.Early) {
			continue // it ended in between; one that failed to start is for somebody to see
		}
		if r.Cluster != v.session.cluster {
			return plane.Route{}, plane.NewError(plane.KeyHeld, fmt.Sprintf("The key is held in cluster %s.", r.Cluster))
		}
		if r.Access == plane.AccessToken {
			if err := c.mayVisit(ctx, v.ask.Visitor, v.key); err != nil {
				return plane.Route{}, err
			}
		}
		return r, nil
	}
}

// nothingRuns says so, and how the last one ended.
func (c *Controller) nothingRuns(ctx context.Context, key plane.Key) error {
	e := plane.NewError(plane.KeyUnheldNoSpawnConfig, "Nothing runs for this key.")
	err := c.store.View(ctx, func(tx store.Tx) error {
		past, err := tx.KeyBackends(key.Namespace, key.Name, 1)
		if err != nil || len(past) == 0 || past[0].State.Status != plane.Terminated {
			return err
		}
		s := past[0].State
		e.Message += " The last one: " + endSentence(s)
		if s.Exit != nil {
			e.Output = s.Exit.Output
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look up key: %w", err)
	}
	return e
}

// mayVisit returns nil if a visitor's cookie still lets them in: it was given
// for a token of this key, and they weren't revoked since, on that backend or a
// later one. A backend that isn't remembered any more vouches for nobody.
func (c *Controller) mayVisit(ctx context.Context, who *wire.Visitor, key plane.Key) error {
	if who == nil {
		return plane.NewError(plane.Unauthorized, "This address needs a link with a token; ask for one where you found it.")
	}
	again := plane.NewError(plane.Unauthorized, "Your access to this address has ended; ask for a new link where you found it.")
	err := c.store.View(ctx, func(tx store.Tx) error {
		b, err := tx.Backend(who.Backend)
		if err != nil {
			return err
		}
		if placeOf(b.Key) != placeOf(key) {
			return again
		}
		claims := plane.Claims{User: who.User, Revocation: who.Revocation}
		own, err := tx.Revoked(b.ID)
		if err != nil {
			return err
		}
		later, err := tx.RevokedLater(key.Namespace, key.Name, b.Generation, claims.UserName())
		if err == nil && (later || !(plane.Route{Revoked: own}).Allows(claims)) {
			return again
		}
		return err
	})
	if isNotFound(err) {
		return again
	}
	if err != nil {
		return fmt.Errorf("read visitor: %w", err)
	}
	return nil
}
