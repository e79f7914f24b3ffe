package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"plane"
	"plane/internal/token"
	"plane/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testCluster = plane.ClusterName("localhost:9090")

// controller is a scripted one: it answers from its routes and does what the
// test says.
type controller struct {
	t      testing.TB
	server *httptest.Server
	keys   []wire.TokenKey
	ring   *token.Keyring

	mu         sync.Mutex
	conn       *wire.Conn
	hellos     []wire.ProxyHello
	routes     map[plane.BackendID]plane.Route
	rev        int64
	onKey      func(wire.KeyAsk) *wire.KeyAnswer
	onAsk      func(wire.RouteAsk) *wire.RouteAnswer
	got        []wire.Message
	dev        bool
	reload     bool
	onOverview func(wire.OverviewAsk) wire.Overview
	away       bool
}

func newController(t testing.TB) *controller {
	k, err := token.NewKey(1, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &controller{
		t: t, routes: map[plane.BackendID]plane.Route{},
		keys: []wire.TokenKey{{Number: 1, Secret: k.Secret}},
		ring: token.NewKeyring([]token.Key{k}, 0, []byte("static key")),
	}
	c.server = httptest.NewServer(c)
	t.Cleanup(func() {
		c.hangUp()
		c.server.Close()
	})
	return c
}

func (c *controller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	away := c.away
	c.mu.Unlock()
	if away || r.URL.Path != "/ctrl/c/"+string(testCluster)+"/proxy-socket" {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	conn, err := wire.Accept(w, r)
	if err != nil {
		return
	}
	m, err := conn.Read(r.Context())
	if err != nil {
		return
	}
	c.mu.Lock()
	c.hellos = append(c.hellos, m.(wire.ProxyHello))
	welcome := wire.ProxyWelcome{Controller: "co-test", Keys: c.keys, StaticKey: []byte("static key"), Dev: c.dev, Reload: c.reload}
	c.mu.Unlock()
	if conn.Write(r.Context(), welcome) != nil {
		return
	}
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	_ = conn.Run(r.Context(), c.handle)
}

func (c *controller) handle(m wire.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, m)
	switch m := m.(type) {
	case wire.RouteAsk:
		if c.onAsk != nil {
			if a := c.onAsk(m); a != nil {
				a.ID = m.ID
				_ = c.conn.Send(*a)
			}
			return nil
		}
		a := wire.RouteAnswer{ID: m.ID, Backend: m.Backend}
		for _, r := range c.routes {
			if r.Status != plane.Terminated && (r.Backend == m.Backend || m.StaticHash != "" && r.StaticHash == m.StaticHash) {
				a.Route = &r
			}
		}
		_ = c.conn.Send(a)
	case wire.KeyAsk:
		if c.onKey != nil {
			if a := c.onKey(m); a != nil {
				a.ID = m.ID
				_ = c.conn.Send(*a)
			}
		}
	case wire.OverviewAsk:
		if c.onOverview != nil {
			o := c.onOverview(m)
			o.ID = m.ID
			_ = c.conn.Send(o)
		}
	case wire.KeysAsk:
		_ = c.conn.Send(wire.Keys{Keys: c.keys, StaticKey: []byte("static key")})
	}
	return nil
}

func (c *controller) hangUp() {
	c.mu.Lock()
	conn := c.conn
	c.conn = nil
	c.mu.Unlock()
	if conn != nil {
		conn.Close("test")
	}
}

func (c *controller) setAway(away bool) {
	c.mu.Lock()
	c.away = away
	c.mu.Unlock()
	if away {
		c.hangUp()
	}
}

// push changes a route and tells the proxy.
func (c *controller) push(r plane.Route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setLocked(&r)
	if c.conn != nil {
		_ = c.conn.Send(wire.RouteUpdate{Route: r})
	}
}

// set changes a route and tells nobody.
func (c *controller) set(r plane.Route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setLocked(&r)
}

func (c *controller) setLocked(r *plane.Route) {
	c.rev++
	if r.Revision == 0 {
		r.Revision = c.rev
	}
	c.routes[r.Backend] = *r
}

func (c *controller) send(m wire.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Send(m)
	}
}

// await gives the first message since from for which ok holds.
func await[M wire.Message](c *controller, ok func(M) bool) M {
	c.t.Helper()
	var found M
	eventually(c.t, fmt.Sprintf("a %T", found), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, m := range c.got {
			if m, is := m.(M); is && ok(m) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

func count[M wire.Message](c *controller, ok func(M) bool) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.got {
		if m, is := m.(M); is && ok(m) {
			n++
		}
	}
	return n
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still waiting for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// cluster is a proxy with its controller.
type cluster struct {
	*controller
	proxy *Proxy
	addr  string
	stop  func()
	ended chan error
	held  int // opened by openAll
}

func start(t testing.TB, change ...func(*Config, *controller)) *cluster {
	c := newController(t)
	cfg := Config{
		Name: "px-test", Cluster: testCluster, ControllerURLs: []string{c.server.URL}, Version: "1", Hash: "abc",
		Timeouts: Timeouts{Answer: 3 * time.Second, Ready: 5 * time.Second, KeyReady: 3 * time.Second, Drain: time.Second},
	}
	if os.Getenv("PROXY_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, f := range change {
		f(&cfg, c)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cl := &cluster{controller: c, proxy: p, addr: ln.Addr().String(), stop: cancel, ended: make(chan error, 1)}
	go func() { cl.ended <- p.Run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-cl.ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	eventually(t, "readiness", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return p.Ready() && c.conn != nil // or what is pushed first would be lost
	})
	return cl
}

func inDev(_ *Config, c *controller) { c.dev = true }

// backendServer is a real one; its route is ready.
func (c *cluster) backend(id plane.BackendID, g plane.Generation, h http.Handler) plane.Route {
	s := httptest.NewServer(h)
	c.t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return c.route(id, g, s.Listener.Addr().String())
}

// waiters is how many requests wait for a backend.
func (c *cluster) waiters(id plane.BackendID) int {
	c.proxy.table.mu.RLock()
	b := c.proxy.table.backends[id]
	c.proxy.table.mu.RUnlock()
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiters
}

func (c *cluster) route(id plane.BackendID, g plane.Generation, address string) plane.Route {
	r := plane.Route{
		Backend: id, Generation: g, KeyHash: "key-of-" + string(id[:1]), Cluster: testCluster,
		Status: plane.Ready, Address: address, StaticHash: token.StaticHash(c.ring.Static(id)),
	}
	c.push(r)
	return r
}

// told pushes a route and waits until the proxy has taken it.
func (c *cluster) told(r plane.Route) {
	c.t.Helper()
	c.push(r)
	c.mu.Lock()
	want := c.routes[r.Backend].Revision
	c.mu.Unlock()
	eventually(c.t, "the news of "+string(r.Backend), func() bool {
		b, _ := c.proxy.table.find(ref{kind: refBackend, name: string(r.Backend)}, time.Now())
		if b == nil {
			return false
		}
		route, _ := b.look()
		return route != nil && route.Revision >= want
	})
}

func (c *cluster) token(id plane.BackendID, change ...func(*plane.Claims)) string {
	claims := plane.Claims{Backend: id, Cluster: testCluster, Auth: []byte("{}"), Issued: time.Now().Unix()}
	for _, f := range change {
		f(&claims)
	}
	tok, err := c.ring.Seal(claims, time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	return tok
}

func forUser(u string) func(*plane.Claims) { return func(c *plane.Claims) { c.User = &u } }

// reply is a response as it came.
type reply struct {
	status int
	header http.Header
	body   string
	last   bool // the connection ends after it
}

// raw sends bytes on a new connection and reads one response.
func (c *cluster) raw(request string) reply {
	c.t.Helper()
	nc := c.dial()
	defer nc.Close()
	return c.on(nc, bufio.NewReader(nc), request)
}

func (c *cluster) dial() net.Conn {
	c.t.Helper()
	nc, err := net.Dial("tcp", c.addr)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc
}

func (c *cluster) on(nc net.Conn, br *bufio.Reader, request string) reply {
	c.t.Helper()
	if _, err := io.WriteString(nc, request); err != nil {
		c.t.Fatalf("send: %v", err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read response to %.60q: %v", request, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		c.t.Fatalf("read body: %v", err)
	}
	return reply{resp.StatusCode, resp.Header, string(b), resp.Close}
}

// get asks for a path on the bare host, with further header lines.
func (c *cluster) get(path string, lines ...string) reply {
	c.t.Helper()
	return c.getOn(string(testCluster), path, lines...)
}

func (c *cluster) getOn(host, path string, lines ...string) reply {
	c.t.Helper()
	return c.raw(httpHead("GET", host, path, lines...))
}

func httpHead(method, host, path string, lines ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	return b.String() + "\r\n"
}

// echo answers with the request as it came, fields sorted by name.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\nhost: %s\n", r.Method, r.RequestURI, r.Host)
	_ = r.Header.Write(&b)
	for k, v := range r.Trailer {
		fmt.Fprintf(&b, "trailer %s: %s\n", k, v)
	}
	fmt.Fprintf(&b, "\n%s", body)
	_, _ = w.Write(b.Bytes())
})

func (r reply) says(line string) bool {
	for l := range strings.Lines(r.body) {
		if strings.TrimRight(l, "\r\n") == line {
			return true
		}
	}
	return false
}
