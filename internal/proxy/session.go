package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/token"
	"plane/internal/wire"
)

const (
	handshakeLimit = 10 * time.Second
	firstRetry     = 500 * time.Millisecond
	maxRetry       = 2 * time.Second
	reportDelay    = 100 * time.Millisecond // in which changes of use are gathered
	backlogWindow  = 1024                   // questions asked at once after a reconnection
	keysAgain      = time.Second            // after which keys are asked for once more
)

var errNoAnswer = errors.New("no controller answered")

// session is the conversation with one controller after another.
type session struct {
	p        *Proxy
	instance string
	conn     atomic.Pointer[wire.Conn] // nil while none is connected
	welcomed atomic.Bool               // once; before, dev isn't known
	dev      atomic.Bool
	reload   atomic.Bool // pages get the script that loads them again
	ring     atomic.Pointer[token.Keyring]
	store    plane.StoreEpoch // of the last welcome

	mu       sync.Mutex // guards the fields below
	ringNews chan struct{}
	keysAt   time.Time      // when keys last arrived
	askedAt  time.Time      // for keys
	backlog  []wire.Message // still to be asked on this connection
	asked    map[int64]*backend
}

// send passes a message on if there is a connection. What must not be lost is
// repeated on the next one.
func (s *session) send(m wire.Message) {
	if c := s.conn.Load(); c != nil {
		_ = c.Send(m)
	}
}

// run connects and reconnects until ctx is done.
func (s *session) run(ctx context.Context) {
	pause := firstRetry
	for i := 0; ctx.Err() == nil; i++ {
		base := s.p.cfg.ControllerURLs[i%len(s.p.cfg.ControllerURLs)]
		began := time.Now()
		err := s.connect(ctx, base)
		if ctx.Err() != nil {
			return
		}
		s.p.log.Warn("no connection to a controller", "error", err)
		if time.Since(began) > maxRetry {
			pause = firstRetry
		}
		t := time.NewTimer(rand.N(pause))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		pause = min(2*pause, maxRetry)
	}
}

// connect holds one connection until it ends.
func (s *session) connect(ctx context.Context, base string) error {
	conn, welcome, err := s.greet(ctx, base)
	if err != nil {
		return err
	}
	s.begin(conn, welcome)
	s.p.log.Info("connected to controller", "controller", welcome.Controller)
	reporting, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.report(reporting, conn) })
	err = conn.Run(ctx, s.handle)
	s.conn.CompareAndSwap(conn, nil)
	stop()
	wg.Wait()
	// Nobody is left to say Resume.
	s.p.table.each((*backend).resume)
	return err
}

func (s *session) greet(ctx context.Context, base string) (*wire.Conn, wire.ProxyWelcome, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	address, header, err := socketURL(base, s.p.cfg.Cluster, s.p.cfg.Header)
	if err != nil {
		return nil, wire.ProxyWelcome{}, err
	}
	conn, err := wire.Dial(ctx, address, s.p.cfg.HTTP, header)
	if err != nil {
		return nil, wire.ProxyWelcome{}, err
	}
	hello := wire.ProxyHello{
		Node: wire.Node{
			Protocol: wire.Version, Version: s.p.cfg.Version, Hash: s.p.cfg.Hash,
			Name: s.p.cfg.Name, Cluster: s.p.cfg.Cluster,
		},
		Instance: s.instance,
		Open:     s.open(),
	}
	if err := conn.Write(ctx, hello); err != nil {
		conn.Close("handshake failed")
		return nil, wire.ProxyWelcome{}, fmt.Errorf("greet controller: %w", err)
	}
	m, err := conn.Read(ctx)
	switch m := m.(type) {
	case wire.ProxyWelcome:
		return conn, m, nil
	case wire.Goodbye:
		err = fmt.Errorf("controller refused: %s", m.Reason)
	case nil:
		err = fmt.Errorf("read welcome: %w", err)
	default:
		err = fmt.Errorf("expected a welcome, got %T", m)
	}
	conn.Close("handshake failed")
	return nil, wire.ProxyWelcome{}, err
}

// socketURL is the proxies' socket of a controller. A user name in its URL is a
// bearer token.
func socketURL(base string, cluster plane.ClusterName, header http.Header) (string, http.Header, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return "", nil, fmt.Errorf("controller URL %q: use http://HOST:PORT", base)
	}
	header = header.Clone()
	if u.User != nil {
		if header == nil {
			header = http.Header{}
		}
		_, rest, _ := strings.Cut(base, "://")
		name, _, _ := strings.Cut(rest, "@")
		header.Set("Authorization", "Bearer "+name)
	}
	return u.Scheme + "://" + u.Host + "/ctrl/c/" + url.PathEscape(string(cluster)) + "/proxy-socket", header, nil
}

// leave ends the conversation.
func (s *session) leave() {
	if c := s.conn.Load(); c != nil {
		c.Close("proxy is leaving")
	}
}

// open is what is in use now.
func (s *session) open() []wire.Use {
	open := []wire.Use{}
	s.p.table.each(func(b *backend) {
		if use, live := b.report(); live && use.Open() > 0 {
			open = append(open, use)
		}
	})
	return open
}

// begin takes a welcome: keys, then everything that may have changed meanwhile.
func (s *session) begin(conn *wire.Conn, w wire.ProxyWelcome) {
	s.dev.Store(w.Dev)
	s.welcomed.Store(true)
	s.reload.Store(w.Reload)
	s.takeKeys(w.Keys, w.OldestKey, w.StaticKey)
	other := s.store != w.Store
	s.store = w.Store
	used := s.p.table.review(other, time.Now())
	backlog := make([]wire.Message, 0, len(used))
	asked := make(map[int64]*backend, len(used))
	for i, b := range used { // these questions have negative numbers
		id := -int64(i) - 1
		asked[id] = b
		backlog = append(backlog, wire.RouteAsk{ID: id, Backend: b.id})
	}
	s.conn.Store(conn)
	backlog = append(backlog, s.p.asks.renew(s.p.table.current(), s.p.cfg.Cluster)...)
	s.mu.Lock()
	s.backlog, s.asked = backlog, asked
	s.mu.Unlock()
	for range backlogWindow {
		s.askNext()
	}
	for _, b := range used {
		b.mu.Lock()
		b.noteLocked()
		b.mu.Unlock()
	}
}

// askNext sends the next question of those that a new connection began with.
// They go a window at a time: their answers make room for the rest.
func (s *session) askNext() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.backlog) == 0 {
		return
	}
	s.send(s.backlog[0])
	s.backlog = s.backlog[1:]
}

func (s *session) takeKeys(keys []wire.TokenKey, oldest uint32, static []byte) {
	ring := make([]token.Key, len(keys))
	for i, k := range keys {
		ring[i] = token.Key{Number: k.Number, Secret: k.Secret, Active: time.UnixMilli(k.ActiveMS)}
	}
	s.ring.Store(token.NewKeyring(ring, oldest, static))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keysAt = time.Now()
	if s.ringNews != nil {
		close(s.ringNews)
		s.ringNews = nil
	}
}

// handle takes one message. It never waits.
func (s *session) handle(m wire.Message) error {
	now := time.Now()
	switch m := m.(type) {
	case wire.Keys:
		s.takeKeys(m.Keys, m.OldestKey, m.StaticKey)
	case wire.RouteUpdate:
		if m.Route.Status == plane.Terminated {
			s.p.table.withdraw(m.Route.Backend, m.Route.End, now)
			s.send(wire.RouteGone{Backend: m.Route.Backend})
			return nil
		}
		s.p.table.apply(&m.Route, now)
	case wire.RouteAnswer:
		s.answered(m, now)
	case wire.KeyAnswer:
		s.askNext()
		if a := s.p.asks.take(m.ID); a != nil {
			if a.err = m.Error; m.Route != nil && m.Error == nil {
				if a.backend = s.news(m.Route, now); a.backend != nil {
					a.backend.vouch(a.visitor)
					s.p.table.name(a.ref, a.backend)
					s.p.bells.ring(a.ref)
				}
			}
			if a.backend == nil && m.Route != nil {
				a.end = s.p.table.endOf(m.Route.Backend) // its end may have been told before
			}
			s.told(a, m)
			close(a.done)
		}
	case wire.AppChanged:
		s.p.appChanged(m, now)
	case wire.Overview:
		s.p.overviews.take(m)
	case wire.Quiesce:
		s.send(wire.Quiesced{ID: m.ID, Backend: m.Backend, Idle: s.p.table.quiesce(m.Backend, m.Opened)})
	case wire.Resume:
		s.p.table.resume(m.Backend, now)
	}
	return nil
}

// news takes a route from an answer.
func (s *session) news(r *plane.Route, now time.Time) *backend {
	if r.Status == plane.Terminated {
		s.p.table.withdraw(r.Backend, r.End, now)
		return nil
	}
	return s.p.table.apply(r, now)
}

// told logs the answer to a question about a key.
func (s *session) told(a *ask, m wire.KeyAnswer) {
	log := s.p.log.With("request", a.request, "key", m.Key.String())
	switch {
	case m.Error != nil && m.Error.Kind == plane.Other:
		log.Warn("no backend for a key", "kind", m.Error.Kind, "error", m.Error.Message)
	case m.Error != nil:
		log.Debug("no backend for a key", "kind", m.Error.Kind, "error", m.Error.Message)
	case m.Route != nil:
		log.Debug("a key's backend", "backend", m.Route.Backend, "generation", m.Route.Generation, "status", m.Route.Status)
	}
}

func (s *session) answered(m wire.RouteAnswer, now time.Time) {
	s.askNext()
	if m.ID < 0 {
		s.reviewed(m, now)
		return
	}
	a := s.p.asks.take(m.ID)
	if a == nil {
		return
	}
	switch {
	case m.Error != nil:
		a.err = m.Error
	case m.Route != nil:
		a.backend = s.news(m.Route, now)
	case a.glance:
	case !s.p.table.miss(a.ref, a.seq, now):
		a.backend, _ = s.p.table.find(a.ref, now)
	}
	close(a.done)
}

// reviewed takes the answer for a route that was held before this connection.
func (s *session) reviewed(m wire.RouteAnswer, now time.Time) {
	s.mu.Lock()
	b := s.asked[m.ID]
	delete(s.asked, m.ID)
	s.mu.Unlock()
	switch {
	case b == nil || m.Error != nil:
	case m.Route != nil:
		s.news(m.Route, now)
	default:
		s.p.table.withdraw(b.id, nil, now)
	}
}

// report tells of changes of use, gathered for a moment.
func (s *session) report(ctx context.Context, conn *wire.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.p.uses.wake:
		}
		t := time.NewTimer(reportDelay)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		if changed := s.p.uses.take(); len(changed) > 0 {
			_ = conn.Send(wire.Activity{Uses: changed})
		}
	}
}

// freshRing waits, no longer than limit, for keys that arrived after since, and
// asks for them. It reports false if none came.
func (s *session) freshRing(ctx context.Context, since time.Time, limit time.Duration) bool {
	s.mu.Lock()
	if s.keysAt.After(since) {
		s.mu.Unlock()
		return true
	}
	if s.ringNews == nil {
		s.ringNews = make(chan struct{})
	}
	asking := time.Since(s.askedAt) > keysAgain
	if asking {
		s.askedAt = time.Now()
	}
	news := s.ringNews
	s.mu.Unlock()
	if asking {
		s.send(wire.KeysAsk{})
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-news:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}
