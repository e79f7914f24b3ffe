package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"plane"
	"plane/internal/store"
	"plane/internal/store/sqlite"
	"plane/internal/wire"
)

const testCluster = plane.ClusterName("localhost:9090")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plant is a controller over a real SQLite store, reachable by sockets.
type plant struct {
	*Controller
	t     testing.TB
	dir   string
	db    store.Store
	http  *httptest.Server
	clock *testClock
	end   func()
}

// testClock is a database clock that can be stepped.
type testClock struct {
	mu   sync.Mutex
	off  time.Duration
	wall time.Duration // by how much the database's alone was
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off + c.wall)
}

// jump steps the database's clock alone: no time has passed.
func (c *testClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += d
}

func (c *testClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

// instant is a lease clock that is stepped with it: time that really passed.
func (c *testClock) instant() plane.Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return plane.Instant(time.Now().Add(c.off).UnixNano())
}

type plantOptions struct {
	dir    string
	wrap   func(store.Store) store.Store
	config func(*Config)
	idle   bool // without Run
}

func newPlant(t testing.TB, o plantOptions) *plant {
	t.Helper()
	if o.dir == "" {
		o.dir = t.TempDir()
	}
	p := &plant{t: t, dir: o.dir, clock: &testClock{}}
	db, err := sqlite.Open(t.Context(), filepath.Join(o.dir, "plane.db"), sqlite.Options{Now: p.clock.now, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	p.db = db
	if o.wrap != nil {
		p.db = o.wrap(db)
	}
	cfg := Config{
		Name: plane.NodeName(newName(plane.PrefixController)), Store: p.db, DefaultCluster: testCluster,
		URL: "http://user@localhost:8080/", Version: "1.0.0", Hash: "abc", Log: quiet(), Clock: p.clock.instant,
	}
	if o.config != nil {
		o.config(&cfg)
	}
	if p.Controller, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	if !o.idle {
		wg.Go(func() { _ = p.Run(ctx) })
	}
	p.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := wire.Accept(w, r)
		if err != nil {
			return
		}
		if strings.HasSuffix(r.URL.Path, "drone") {
			_ = p.ServeDrone(ctx, conn, testCluster, r.URL.Query().Get("pool"))
			return
		}
		_ = p.ServeProxy(ctx, conn, testCluster)
	}))
	var once sync.Once
	p.end = func() {
		once.Do(func() {
			cancel()
			wg.Wait()
			p.http.Close()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(p.end)
	return p
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// lived pretends that the controller has watched the clocks for long.
func (p *plant) lived() {
	now := clockPair{p.clock.now(), p.clock.instant()}
	for age := 60 * time.Second; age > 0; age -= time.Second {
		p.Controller.clock.note(clockPair{now.db.Add(-age), now.own.Add(-age)})
	}
}

// drone is a scripted one.
type drone struct {
	t     testing.TB
	p     *plant
	hello wire.DroneHello
	conn  *wire.Conn
	end   func()

	mu       sync.Mutex
	welcome  wire.DroneWelcome
	holding  plane.Holding
	seq      int64
	spawns   []wire.Spawn
	drains   []bool
	stops    []wire.Terminate
	discards []wire.Discard
	renewed  []wire.Renewed
	done     map[int64]bool
	has      map[plane.BackendID]wire.Spawn
	status   map[plane.BackendID]plane.Status
	ended    error
	answers  func(d *drone, m wire.Message) bool // true = handled
	autoplay bool
	still    bool // renews only when told to
}

type droneOption func(*drone)

func manual(d *drone) { d.autoplay = false }
func still(d *drone)  { d.still = true }
func answers(fn func(*drone, wire.Message) bool) droneOption {
	return func(d *drone) { d.answers = fn }
}

func (p *plant) drone(name plane.NodeName, opts ...droneOption) *drone {
	p.t.Helper()
	d := &drone{
		t: p.t, p: p, done: map[int64]bool{}, has: map[plane.BackendID]wire.Spawn{},
		status: map[plane.BackendID]plane.Status{}, autoplay: true,
		hello: wire.DroneHello{
			Node:   wire.Node{Protocol: wire.Version, Version: "1.0.0", Hash: "abc", Name: name, Cluster: testCluster},
			BootID: "boot-" + string(name), Warden: "w1", Agent: "a1", Runtimes: []string{"process"}, Commands: true,
		},
	}
	for _, o := range opts {
		o(d)
	}
	d.connect()
	return d
}

// connect says hello and renews once.
func (d *drone) connect() {
	d.t.Helper()
	if err := d.tryConnect(); err != nil {
		d.t.Fatal(err)
	}
	d.renew()
	eventually(d.t, "the first renewal is answered", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.renewed) > 0
	})
}

func (d *drone) tryConnect() error {
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := wire.Dial(ctx, d.p.http.URL+"/drone", nil, nil)
	if err != nil {
		cancel()
		return err
	}
	if err := conn.Write(ctx, d.hello); err != nil {
		cancel()
		return err
	}
	m, err := conn.Read(ctx)
	if err != nil {
		cancel()
		return err
	}
	w, ok := m.(wire.DroneWelcome)
	if !ok {
		conn.Close("")
		cancel()
		return fmt.Errorf("%#v", m)
	}
	d.mu.Lock()
	d.conn, d.welcome, d.renewed, d.ended = conn, w, nil, nil
	d.holding.Store = w.Store
	d.holding.Epochs = w.Epochs
	d.holding.Attempt = max(d.holding.Attempt, w.Attempt)
	d.hello.Epochs, d.hello.Store = &w.Epochs, w.Store
	d.mu.Unlock()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		err := conn.Run(ctx, d.take)
		d.mu.Lock()
		d.ended = err
		d.mu.Unlock()
	}()
	var renewals sync.WaitGroup
	renewals.Go(func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				if !d.still {
					d.renew()
				}
			}
		}
	})
	var once sync.Once
	d.end = func() { once.Do(func() { cancel(); <-finished; renewals.Wait() }) }
	d.t.Cleanup(d.end)
	return nil
}

func (d *drone) renew() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var n int64
	d.holding, n = d.holding.Send(d.p.clock.instant())
	_ = d.conn.Send(wire.Renew{Number: n, Epochs: d.holding.Epochs, Store: d.holding.Store})
	return n
}

func (d *drone) take(m wire.Message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.answers != nil && d.answers(d, m) {
		return nil
	}
	switch m := m.(type) {
	case wire.Renewed:
		d.renewed = append(d.renewed, m)
		if m.Outcome == wire.RenewalOK {
			d.holding, _ = d.holding.Renewed(m.Number)
		}
	case wire.Spawn:
		d.spawns = append(d.spawns, m)
		if !d.autoplay {
			break
		}
		_ = d.conn.Send(wire.Acted{Action: m.Action, Backend: m.Backend})
		d.has[m.Backend] = m
		d.sayLocked(m.Backend, plane.State{Status: plane.Loading}, plane.State{Status: plane.Starting},
			plane.State{Status: plane.Waiting, Address: "127.0.0.1:4000"}, plane.State{Status: plane.Ready, Address: "127.0.0.1:4000"})
	case wire.Terminate:
		d.stops = append(d.stops, m)
		if !d.autoplay {
			break
		}
		_ = d.conn.Send(wire.Acted{Action: m.Action, Backend: m.Backend})
		code := 143
		d.sayLocked(m.Backend, plane.State{Status: plane.Terminating, LastStatus: plane.Ready, Termination: plane.Soft, Reason: m.Reason},
			plane.State{Status: plane.Terminated, LastStatus: plane.Ready, Termination: plane.Soft, Reason: m.Reason, Exit: &plane.Exit{Code: &code}})
	case wire.Discard:
		d.discards = append(d.discards, m)
		_ = d.conn.Send(wire.Acted{Action: m.Action})
	case wire.Drain:
		d.drains = append(d.drains, m.On)
	case wire.StatusDone:
		for _, s := range m.Seqs {
			d.done[s] = true
		}
	}
	return nil
}

// say reports states of a backend that it was given.
func (d *drone) say(id plane.BackendID, states ...plane.State) []int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sayLocked(id, states...)
}

func (d *drone) sayLocked(id plane.BackendID, states ...plane.State) []int64 {
	var m wire.Statuses
	var seqs []int64
	for _, s := range states {
		d.seq++
		seqs = append(seqs, d.seq)
		m.Reports = append(m.Reports, wire.Status{
			Seq: d.seq, Backend: id, Generation: d.generationLocked(id), State: s, AtMS: d.p.clock.now().UnixMilli(),
		})
		d.status[id] = s.Status
	}
	_ = d.conn.Send(m)
	return seqs
}

func (d *drone) generationLocked(id plane.BackendID) plane.Generation {
	for _, s := range d.spawns {
		if s.Backend == id {
			return s.Generation
		}
	}
	return 0
}

func (d *drone) acknowledged(seq int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done[seq]
}

func (d *drone) spawned() []wire.Spawn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]wire.Spawn(nil), d.spawns...)
}

func (d *drone) stopped() []wire.Terminate {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]wire.Terminate(nil), d.stops...)
}

func (d *drone) answered() []wire.Renewed {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]wire.Renewed(nil), d.renewed...)
}

// proxy is a scripted one.
type proxy struct {
	t    testing.TB
	conn *wire.Conn
	end  func()

	mu      sync.Mutex
	welcome wire.ProxyWelcome
	routes  map[plane.BackendID]plane.Route
	updates []plane.Route
	got     []wire.Message
	idle    bool // what it says when asked
	silent  bool // acknowledges no withdrawal
	asked   int64
}

func (p *plant) proxy(name plane.NodeName) *proxy {
	p.t.Helper()
	return p.proxyWith(name, nil)
}

func (p *plant) proxyWith(name plane.NodeName, open []wire.Use) *proxy {
	p.t.Helper()
	x := &proxy{t: p.t, routes: map[plane.BackendID]plane.Route{}, idle: true}
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := wire.Dial(ctx, p.http.URL+"/proxy", nil, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	x.conn = conn
	hello := wire.ProxyHello{Node: wire.Node{Protocol: wire.Version, Name: name, Cluster: testCluster, Version: "1.0.0", Hash: "abc"}, Instance: "i", Open: open}
	if err := conn.Write(ctx, hello); err != nil {
		p.t.Fatal(err)
	}
	m, err := conn.Read(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	x.welcome = m.(wire.ProxyWelcome)
	finished := make(chan struct{})
	go func() { defer close(finished); _ = conn.Run(ctx, x.take) }()
	var once sync.Once
	x.end = func() { once.Do(func() { cancel(); <-finished }) }
	p.t.Cleanup(x.end)
	return x
}

func (x *proxy) take(m wire.Message) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.got = append(x.got, m)
	switch m := m.(type) {
	case wire.RouteUpdate:
		x.updates = append(x.updates, m.Route)
		if m.Route.Revision >= x.routes[m.Route.Backend].Revision {
			x.routes[m.Route.Backend] = m.Route
		}
		if m.Route.Status == plane.Terminated && !x.silent {
			_ = x.conn.Send(wire.RouteGone{Backend: m.Route.Backend})
		}
	case wire.Quiesce:
		_ = x.conn.Send(wire.Quiesced{ID: m.ID, Backend: m.Backend, Idle: x.idle})
	}
	return nil
}

func (x *proxy) route(id plane.BackendID) plane.Route {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.routes[id]
}

func received[M wire.Message](x *proxy) []M {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []M
	for _, m := range x.got {
		if m, ok := m.(M); ok {
			out = append(out, m)
		}
	}
	return out
}

func (x *proxy) setIdle(idle bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.idle = idle
}

// eventually polls, with a deadline.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // a poll, not a wait for something
	}
}

var operatorActor = Actor{Kind: "operator"}

func spec(change ...func(*plane.Spec)) *plane.Spec {
	s := &plane.Spec{Executable: json.RawMessage(`{"command":["./serve"]}`)}
	for _, c := range change {
		c(s)
	}
	return s
}

func keyed(name string, change ...func(*plane.Spec)) ConnectRequest {
	return ConnectRequest{Key: &plane.Key{Name: name}, Spec: spec(change...)}
}

func (p *plant) connectTo(r ConnectRequest) ConnectResponse {
	p.t.Helper()
	out, err := p.Connect(p.t.Context(), operatorActor, r)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *plant) statusOf(id plane.BackendID) plane.Status {
	p.t.Helper()
	e, err := p.Status(p.t.Context(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	return e.Status
}

func (p *plant) until(id plane.BackendID, s plane.Status) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("%s is %s", id, s), func() bool { return p.statusOf(id) == s })
}

// devConfig is that of plane dev with an unnamed app.
func devConfig(c *Config) { c.Dev, c.DefaultApp = true, new(string) }

func (p *plant) apply(name string, t plane.Template) Applied {
	p.t.Helper()
	out, err := p.Apply(p.t.Context(), operatorActor, name, t)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// lockedText is a log that is written by many and read at the end.
type lockedText struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedText) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lockedText) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
