package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/wire"
)

// Timeouts of a proxy. Zero values mean the defaults given. There is none for a
// whole request, nor for a body: uploads, streams and sockets take as long as
// they take.
type Timeouts struct {
	ReadHeader     time.Duration // for a request's head to arrive; 5 s
	Idle           time.Duration // of a client's connection between requests; 75 s
	Connect        time.Duration // to a backend; 10 s
	ResponseHeader time.Duration // for a backend's answer to begin, upgrades apart; none
	Answer         time.Duration // for a controller to say where a backend is; 10 s
	Ready          time.Duration // a token's request waits for its backend to be ready; 5 min
	KeyReady       time.Duration // the same on key URLs; 60 s
	Drain          time.Duration // for requests to end when the proxy leaves; 10 s
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{
		{&t.ReadHeader, 5 * time.Second},
		{&t.Idle, 75 * time.Second},
		{&t.Connect, 10 * time.Second},
		{&t.Answer, 10 * time.Second},
		{&t.Ready, 5 * time.Minute},
		{&t.KeyReady, time.Minute},
		{&t.Drain, 10 * time.Second},
	} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
	return t
}

// Config is what a proxy is made of.
type Config struct {
	Name           plane.NodeName
	Cluster        plane.ClusterName
	Hosts          []string     // further host names that stand for the cluster
	ControllerURLs []string     // tried in turn
	Header         http.Header  // of the connection to a controller
	HTTP           *http.Client // for it, or nil
	RootRedirect   string       // where / of the bare host leads, or ""
	Version        string
	Hash           string
	Log            *slog.Logger
	Metrics        *Metrics // nil = nothing is counted
	Timeouts       Timeouts

	// Dial connects to a backend at the address of its route; nil = that is
	// always host:port.
	Dial func(ctx context.Context, d *net.Dialer, address string) (net.Conn, error)
}

// Proxy forwards end users' requests to the backends of one cluster.
type Proxy struct {
	cfg       Config
	names     hostNames
	server    string // value of the field of that name
	log       *slog.Logger
	metrics   *Metrics
	uses      uses
	table     *table
	asks      *asks
	session   *session
	wakings   wakings
	bells     bells
	changed   appChanges
	overviews overviews
	streams   atomic.Int64  // of /_plane/status, open
	leave     chan struct{} // closed when the proxy leaves
	leaving   atomic.Bool
	tunnels   sync.WaitGroup

	mu    sync.Mutex // guards the field below
	conns map[*conn]struct{}
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Proxy, error) {
	if err := plane.CheckNode(cfg.Name, plane.PrefixProxy); err != nil {
		return nil, fmt.Errorf("proxy name: %w", err)
	}
	if err := cfg.Cluster.Check(); err != nil {
		return nil, err
	}
	if len(cfg.ControllerURLs) == 0 {
		return nil, errors.New("no controller URL: give at least one")
	}
	for _, u := range cfg.ControllerURLs {
		if _, _, err := socketURL(u, cfg.Cluster, nil); err != nil {
			return nil, err
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, d *net.Dialer, address string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", address)
		}
	}
	cfg.Timeouts = cfg.Timeouts.withDefaults()
	p := &Proxy{
		cfg:       cfg,
		names:     newHostNames(cfg.Cluster, cfg.Hosts),
		server:    "Plane/" + cfg.Version + "-" + cfg.Hash,
		log:       cfg.Log,
		metrics:   cfg.Metrics,
		uses:      uses{wake: make(chan struct{}, 1)},
		asks:      newAsks(),
		leave:     make(chan struct{}),
		wakings:   wakings{all: map[question]*waking{}},
		bells:     bells{all: map[ref]*bell{}},
		changed:   appChanges{at: map[string]time.Time{}},
		overviews: overviews{open: map[int64]chan wire.Overview{}},
		conns:     map[*conn]struct{}{},
	}
	p.table = newTable(&p.uses)
	p.session = &session{p: p, instance: plane.RandomName(rand.Reader, plane.NoPrefix)}
	cfg.Metrics.watch(p)
	return p, nil
}

// Ready reports whether the proxy is connected to a controller and takes requests.
func (p *Proxy) Ready() bool {
	return p.session.conn.Load() != nil && !p.leaving.Load()
}

// Run serves ln and keeps the session with a controller until ctx is done. It
// then lets open requests end, for Timeouts.Drain at most, and cuts what is
// left. It returns with everything closed, ln too.
func (p *Proxy) Run(ctx context.Context, ln net.Listener) error {
	// The parts below end in their own order, not all at once with ctx.
	base := context.WithoutCancel(ctx)
	requests, cut := context.WithCancelCause(base)
	defer cut(nil)
	talking, hangUp := context.WithCancel(base)
	defer hangUp()

	h2 := newH2(p, requests)
	var talk, serve sync.WaitGroup
	talk.Go(func() { p.session.run(talking) })
	talk.Go(func() { p.sweep(talking) })
	talk.Go(h2.serve)

	failed := make(chan error, 1)
	serve.Go(func() { failed <- p.accept(ctx, requests, ln, h2, &serve) })
	var err error
	select {
	case <-ctx.Done():
		_ = ln.Close()
		<-failed
	case err = <-failed:
		_ = ln.Close()
	}
	p.leaving.Store(true)
	close(p.leave)
	p.drain(h2)
	cut(errLeaving)
	p.cutAll()
	h2.close()
	serve.Wait()
	p.tunnels.Wait()
	p.wakings.work.Wait()
	p.session.send(wire.Goodbye{Reason: "proxy is leaving"})
	p.session.leave()
	hangUp()
	talk.Wait()
	p.table.each(func(b *backend) { b.end(errLeaving, nil) })
	return err
}

// accept serves connections until ln is closed.
func (p *Proxy) accept(ctx, requests context.Context, ln net.Listener, h2 *h2, serve *sync.WaitGroup) error {
	pause := 5 * time.Millisecond
	for {
		nc, err := ln.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			c := newConn(p, nc, h2)
			serve.Go(func() { c.serve(requests) })
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept connections: %w", err)
		}
		// Out of descriptors, mostly: those at work will free some.
		p.log.Error("can't accept a connection", "error", err)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		pause = min(2*pause, time.Second)
	}
}

// sweep closes connections that wait for too long.
func (p *Proxy) sweep(ctx context.Context) {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			p.eachConn(func(c *conn) { c.expire(now) })
			p.table.each(func(b *backend) { b.dropOld(now) })
			p.wakings.trim(now)
		}
	}
}

func (p *Proxy) eachConn(f func(*conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		f(c)
	}
}

// drain waits for plain requests to end. Upgraded ones never do by themselves.
func (p *Proxy) drain(h2 *h2) {
	limit := time.NewTimer(p.cfg.Timeouts.Drain)
	defer limit.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	h2.shutdown()
	for {
		busy := h2.active.Load() > 0
		p.eachConn(func(c *conn) { busy = !c.dismiss() || busy })
		if !busy {
			return
		}
		select {
		case <-limit.C:
			p.log.Warn("cut requests that did not end", "after", p.cfg.Timeouts.Drain)
			return
		case <-look.C:
		}
	}
}

// cutAll ends every connection.
func (p *Proxy) cutAll() {
	p.eachConn(func(c *conn) {
		c.x.abort(errLeaving)
		_ = c.nc.Close()
	})
}
