package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// How many questions of one proxy are answered at a time; further ones are told
// to come again. Those about keys may take long, and have their own room.
const (
	routeAsks = 4096
	keyAsks   = 4096
)

// proxySession is one connection of a proxy.
type proxySession struct {
	name       plane.NodeName
	cluster    plane.ClusterName
	connection int64
	conn       *wire.Conn

	asks   asks[wire.Quiesced]
	routes atomic.Int64 // questions about routes under way
	keys   atomic.Int64 // about keys
	work   sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	byUsed map[plane.BackendID]wire.Use
}

func (s *proxySession) used(id plane.BackendID) wire.Use {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byUsed[id]
}

// use takes reports, which replace earlier ones, and returns the backends that
// something was opened or closed of.
func (s *proxySession) use(uses []wire.Use) []plane.BackendID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var moved []plane.BackendID
	for _, u := range uses {
		u.Plain, u.Upgraded = max(0, u.Plain), max(0, u.Upgraded)
		if u != s.byUsed[u.Backend] {
			moved = append(moved, u.Backend)
		}
		s.byUsed[u.Backend] = u
	}
	return moved
}

// drop forgets the use of a backend that has ended.
func (s *proxySession) drop(id plane.BackendID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byUsed, id)
}

// reported are the backends that there are reports of.
func (s *proxySession) reported() []plane.BackendID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.byUsed))
}

// open are the backends in use.
func (s *proxySession) open() []plane.BackendID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []plane.BackendID
	for id, u := range s.byUsed {
		if u.Open() > 0 {
			out = append(out, id)
		}
	}
	return out
}

// ServeProxy speaks with a proxy until the connection or ctx ends.
func (c *Controller) ServeProxy(ctx context.Context, conn *wire.Conn, cluster plane.ClusterName) error {
	hctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	hello, err := readHello[wire.ProxyHello](hctx, conn, cluster, plane.PrefixProxy)
	if err != nil {
		return err
	}
	keys, err := c.ringOf(hctx, cluster)
	if err != nil {
		conn.Close("the controller's store does not answer")
		return err
	}
	connection, epoch, err := c.admitProxy(hctx, hello)
	if err != nil {
		conn.Close("the controller's store does not answer")
		return fmt.Errorf("admit %s: %w", hello.Name, err)
	}
	s := &proxySession{
		name: hello.Name, cluster: cluster, connection: connection, conn: conn, byUsed: map[plane.BackendID]wire.Use{},
	}
	s.use(hello.Open)
	// From here on it is told of changes; its welcome goes out before them.
	old := c.proxies.add(s)
	if old != nil {
		old.conn.Close("the proxy connected again")
	}
	err = conn.Write(hctx, wire.ProxyWelcome{
		Controller: c.cfg.Name, Version: c.cfg.Version, Store: epoch, Keys: keys.wire.Keys,
		OldestKey: keys.wire.OldestKey, StaticKey: keys.wire.StaticKey, Dev: c.cfg.Dev, Reload: c.cfg.Reload,
	})
	if err != nil {
		conn.Close("welcome not taken")
		c.proxyLeft(s)
		return fmt.Errorf("welcome %s: %w", s.name, err)
	}
	if now, err := c.ringOf(hctx, cluster); err == nil && now != keys {
		_ = conn.Send(now.wire) // they changed while the welcome was under way
	}
	c.log.Info("proxy connected", "proxy", s.name, "connection", connection)
	ctx, stop := context.WithCancel(ctx)
	err = conn.Run(ctx, func(m wire.Message) error { c.fromProxy(ctx, s, m); return nil })
	stop()
	s.asks.fail()
	s.work.Wait()
	c.proxyLeft(s)
	c.log.Info("proxy disconnected", "proxy", s.name, "connection", connection, "cause", err)
	return err
}

// fromProxy takes a message; it waits for nobody.
func (c *Controller) fromProxy(ctx context.Context, s *proxySession, m wire.Message) {
	switch m := m.(type) {
	case wire.Activity:
		c.use.moved(s.use(m.Uses), time.Now())
	case wire.RouteGone:
		s.drop(m.Backend)
		c.routes.gone(m.Backend, s)
	case wire.Quiesced:
		s.asks.answer(m.ID, m)
	case wire.RouteAsk:
		s.answer(&s.routes, routeAsks, func() wire.Message { return c.answerRoute(ctx, s, m) },
			wire.RouteAnswer{ID: m.ID, Backend: m.Backend, Error: wireError(errBusy)})
	case wire.KeyAsk:
		s.answer(&s.keys, keyAsks, func() wire.Message { return c.answerKey(ctx, s, m) },
			wire.KeyAnswer{ID: m.ID, Error: wireError(errBusy)})
	case wire.OverviewAsk:
		s.answer(&s.routes, routeAsks, func() wire.Message { return c.overview(ctx, s, m) },
			wire.Overview{ID: m.ID, Error: wireError(errBusy)})
	case wire.KeysAsk:
		s.answer(&s.routes, routeAsks, func() wire.Message { return c.answerKeys(ctx, s) }, nil)
	}
}

var errBusy = &plane.Error{Kind: plane.Unavailable, Message: "The controller is busy; try again.", Retry: time.Second}

// answer works an answer out beside the reading of further messages.
func (s *proxySession) answer(under *atomic.Int64, most int64, work func() wire.Message, busy wire.Message) {
	if under.Add(1) > most {
		under.Add(-1)
		if busy != nil {
			_ = s.conn.Send(busy)
		}
		return
	}
	s.work.Go(func() {
		defer under.Add(-1)
		if m := work(); m != nil {
			_ = s.conn.Send(m)
		}
	})
}

func (c *Controller) proxyLeft(s *proxySession) {
	now := time.Now()
	c.proxies.remove(s, now)
	c.routes.left(s)
	c.use.moved(s.open(), now)
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	err := c.store.Update(ctx, func(tx store.Tx) error { return tx.DisconnectProxy(s.name, s.connection) })
	if err != nil {
		c.log.Warn("could not record that a proxy disconnected", "proxy", s.name, "error", err)
	}
}

// admitProxy notes the connection; only its number may write that it ended.
func (c *Controller) admitProxy(ctx context.Context, h wire.ProxyHello) (int64, plane.StoreEpoch, error) {
	var connection int64
	var epoch plane.StoreEpoch
	err := c.store.Update(ctx, func(tx store.Tx) error {
		connection = 1
		all, err := tx.Proxies("")
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.Name == h.Name {
				connection = p.Connection + 1
			}
		}
		if epoch, err = tx.StoreEpoch(); err != nil {
			return err
		}
		return tx.PutProxy(store.Proxy{
			Name: h.Name, Cluster: h.Cluster, Version: h.Version, Hash: h.Hash, Instance: h.Instance,
			Controller: c.cfg.Name, Connection: connection, SeenAt: tx.Now(),
		})
	})
	return connection, epoch, err
}

// answerRoute answers for a backend; an unknown or ended one has no route.
func (c *Controller) answerRoute(ctx context.Context, s *proxySession, m wire.RouteAsk) wire.Message {
	a := wire.RouteAnswer{ID: m.ID, Backend: m.Backend}
	if m.StaticHash != "" {
		id, ok := c.statics.find(m.StaticHash)
		if !ok {
			return a
		}
		a.Backend = id
	}
	var r plane.Route
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		_, r, err = c.readRoute(tx, a.Backend)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		c.log.Warn("could not read a route", "backend", a.Backend, "error", err)
		a.Error = wireError(errBusy)
	case r.Cluster == s.cluster && r.Status != plane.Terminated:
		a.Route = &r
	}
	return a
}

// answerKeys sends the keys again. Other controllers may have made new ones;
// with an exclusive store there are none.
func (c *Controller) answerKeys(ctx context.Context, s *proxySession) wire.Message {
	if c.live.off {
		if err := c.reloadRing(ctx, s.cluster); err != nil {
			c.log.Warn("could not read token keys", "cluster", s.cluster, "error", err)
		}
		return nil // all proxies were told
	}
	keys, err := c.ringOf(ctx, s.cluster)
	if err != nil {
		return nil
	}
	return keys.wire
}

// wireError is an error as proxies are told it; faults of ours are told without detail.
func wireError(err error) *wire.Error {
	var e *plane.Error
	if !errors.As(err, &e) {
		e = plane.NewError(plane.Other, "Internal error.")
	}
	return &wire.Error{Kind: e.Kind, Message: e.Message, Status: e.Status, RetryMS: e.Retry.Milliseconds(), Output: e.Output}
}
