package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plane"
	"plane/internal/token"
	"plane/internal/wire"
)

// events is a backend with a stream that never ends, and an upgrade.
func events(served *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		switch r.URL.Path {
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/silent":
			<-r.Context().Done()
		case "/socket":
			nc, rw, _ := http.NewResponseController(w).Hijack()
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			_ = rw.Flush()
			_, _ = io.Copy(io.Discard, nc)
			_ = nc.Close()
		}
	})
}

// openAll opens one exchange of each kind and gives the connections.
func (c *cluster) openAll(tok string) (stream, silent, socket *bufio.Reader) {
	c.t.Helper()
	open := func(path string, lines ...string) *bufio.Reader {
		nc := c.dial()
		c.t.Cleanup(func() { nc.Close() })
		fmt.Fprint(nc, httpHead("GET", string(testCluster), "/"+tok+path, lines...))
		return bufio.NewReader(nc)
	}
	stream, silent, socket = open("/stream"), open("/silent"), open("/socket", "Connection: Upgrade", "Upgrade: x")
	for _, br := range []*bufio.Reader{stream, socket} {
		if _, err := http.ReadResponse(br, nil); err != nil {
			c.t.Fatal(err)
		}
	}
	c.held += 3
	eventually(c.t, "three more open", func() bool { return c.openUse("b1") == c.held })
	return stream, silent, socket
}

// checkCut checks that all three end soon, and the silent one with an answer.
func checkCut(t *testing.T, what string, status int, stream, silent, socket *bufio.Reader) {
	t.Helper()
	began := time.Now()
	if resp, err := http.ReadResponse(silent, nil); err != nil || resp.StatusCode != status {
		t.Errorf("%s: silent request got %v %v, want %d", what, resp, err, status)
	}
	_, _ = io.ReadAll(stream)
	_, _ = io.ReadAll(socket)
	if d := time.Since(began); d > time.Second {
		t.Errorf("%s: open ones ended after %v, want 1 s at most", what, d)
	}
}

func TestL3_ANewerGenerationEndsTheOlder(t *testing.T) {
	c := start(t)
	var old, young atomic.Int64
	c.backend("b1", 1, events(&old))
	tok := c.token("b1")
	stream, silent, socket := c.openAll(tok)
	eventually(t, "all three at the backend", func() bool { return old.Load() == 3 })
	c.get("/" + tok + "/") // leaves a connection for the next
	served := old.Load()

	c.backend("b2", 2, events(&young))
	checkCut(t, "superseded", 410, stream, silent, socket)
	for range 5 {
		if r := c.get("/" + tok + "/"); r.status != 410 {
			t.Errorf("token of the old generation: %d", r.status)
		}
	}
	// Late news of the old one changes nothing, even if the new one is gone.
	late := c.routes["b1"]
	late.Revision = 0
	c.push(late)
	c.mu.Lock()
	delete(c.routes, "b1")
	c.mu.Unlock()
	end := c.routes["b2"]
	end.Status, end.Revision = plane.Terminated, 0
	c.push(end)
	await(c.controller, func(g wire.RouteGone) bool { return g.Backend == "b2" })
	c.push(late)
	if r := c.get("/" + tok + "/"); r.status != 410 {
		t.Errorf("after late news: %d", r.status)
	}
	if old.Load() != served {
		t.Errorf("%d requests reached the old generation", old.Load()-served)
	}
}

func TestTrap11_AWithdrawnRouteIsGoneWhenAcknowledged(t *testing.T) {
	c := start(t)
	var served atomic.Int64
	route := c.backend("b1", 1, events(&served))
	tok := c.token("b1")
	stream, silent, socket := c.openAll(tok)
	eventually(t, "all three at the backend", func() bool { return served.Load() == 3 })
	route.Status, route.Revision = plane.Terminating, 0
	c.push(route)
	eventually(t, "no new request", func() bool { return c.get("/"+tok+"/").status == 410 })
	// A request counts itself out after its answer. The grace period is theirs who are left.
	eventually(t, "3 open while it ends", func() bool { return c.openUse("b1") == 3 })
	before := served.Load()
	route.Status, route.Revision = plane.Terminated, 0
	c.push(route)
	await(c.controller, func(g wire.RouteGone) bool { return g.Backend == "b1" })
	checkCut(t, "ended", 410, stream, silent, socket)
	if r := c.get("/" + tok + "/"); r.status != 410 || served.Load() != before {
		t.Errorf("%d, %d requests after the end", r.status, served.Load()-before)
	}
	// One that isn't known is acknowledged as well.
	c.push(plane.Route{Backend: "z9", KeyHash: "z", Generation: 1, Status: plane.Terminated})
	await(c.controller, func(g wire.RouteGone) bool { return g.Backend == "z9" })
}

func TestRevocationCutsTheUsersSocketsOnly(t *testing.T) {
	c := start(t)
	var served atomic.Int64
	route := c.backend("b1", 1, events(&served))
	alice, bob := c.token("b1", forUser("alice")), c.token("b1", forUser("bob"))
	stream, silent, socket := c.openAll(alice)
	_, _, _ = c.openAll(bob)
	route.Revocation, route.Revoked, route.Revision = 1, map[string]int64{"alice": 1}, 0
	c.push(route)
	checkCut(t, "revoked", 410, stream, silent, socket)
	eventually(t, "only bob's 3 open", func() bool { return c.openUse("b1") == 3 })
	if r := c.get("/" + alice + "/"); r.status != 410 {
		t.Errorf("revoked token: %d", r.status)
	}
	again := c.token("b1", forUser("alice"), func(c *plane.Claims) { c.Revocation = 1 })
	for who, tok := range map[string]string{"bob": bob, "alice again": again} {
		if r := c.get("/" + tok + "/"); r.status != 200 {
			t.Errorf("%s: %d", who, r.status)
		}
	}
}

func TestExpiryHoldsAtNewRequestsOnly(t *testing.T) {
	c := start(t)
	var served atomic.Int64
	c.backend("b1", 1, events(&served))
	soon := time.Now().Unix() + 2
	tok := c.token("b1", func(c *plane.Claims) { c.Expires = soon })
	stream, _, _ := c.openAll(tok)
	nc := c.dial()
	defer nc.Close()
	br := bufio.NewReader(nc)
	eventually(t, "expiry", func() bool {
		return c.on(nc, br, httpHead("GET", string(testCluster), "/"+tok+"/")).status == 410
	})
	if time.Now().Unix() < soon {
		t.Error("expired too early")
	}
	eventually(t, "3 open", func() bool { return c.openUse("b1") == 3 })
	_ = stream
}

func TestRequestsWaitForTheirBackend(t *testing.T) {
	c := start(t, inDev)
	s := newServer(t, echo)
	route := plane.Route{Backend: "b1", Generation: 1, KeyHash: "k", Cluster: testCluster, Status: plane.Scheduled}
	scheduled := route
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer { return &wire.KeyAnswer{Route: &scheduled} }
	replies := make(chan reply, 3)
	go func() { replies <- c.getOn("doc.localhost:9090", "/") }()
	go func() { replies <- c.get("/~/doc/") }()
	await(c.controller, func(wire.KeyAsk) bool { return true })
	go func() { replies <- c.get("/" + c.token("b1") + "/") }()
	for _, status := range []plane.Status{plane.Loading, plane.Starting, plane.Waiting, plane.Ready} {
		route.Status, route.Revision = status, 0
		if status == plane.Ready {
			route.Address = s
		}
		c.push(route)
	}
	for range 3 {
		if r := <-replies; r.status != 200 {
			t.Errorf("%d", r.status)
		}
	}
}

func newServer(t testing.TB, h http.Handler) string {
	_, address := serve(t, h)
	return address
}

func serve(t testing.TB, h http.Handler) (s *http.Server, address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { _ = s.Serve(ln); close(done) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return s, ln.Addr().String()
}

func TestAKeyURLGoesOnToTheNextGeneration(t *testing.T) {
	c := start(t, inDev)
	first := c.route("b1", 1, "127.0.0.1:1") // nobody listens
	second := plane.Route{Backend: "b2", Generation: 2, KeyHash: first.KeyHash, Cluster: testCluster, Status: plane.Ready, Address: newServer(t, echo), Revision: 100}
	asked := 0
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer {
		if asked++; asked == 1 {
			return &wire.KeyAnswer{Route: &first}
		}
		return &wire.KeyAnswer{Route: &second}
	}
	c.onAsk = func(wire.RouteAsk) *wire.RouteAnswer { return &wire.RouteAnswer{} }
	if r := c.getOn("doc.localhost:9090", "/"); r.status != 200 || r.header.Get("X-Plane-Backend-Id") != "b2" {
		t.Errorf("%d %v", r.status, r.header)
	}
}

func TestNever502ForAnEnd(t *testing.T) {
	c := start(t)
	route := c.route("b1", 1, "127.0.0.1:1")
	tok := c.token("b1")
	if r := c.get("/" + tok + "/"); r.status != 502 {
		t.Errorf("alive as far as anyone knows: %d", r.status)
	}
	// The controller knows; its push is late.
	route.Status, route.Revision = plane.Terminated, 0
	c.set(route)
	if r := c.get("/" + tok + "/"); r.status != 410 {
		t.Errorf("asked: %d", r.status)
	}
	// The machine has yet to see it.
	other := c.route("c1", 1, "127.0.0.1:1")
	go func() {
		await(c.controller, func(a wire.RouteAsk) bool { return a.Backend == "c1" })
		other.Status, other.Revision = plane.Terminated, 0
		c.push(other)
	}()
	if r := c.get("/" + c.token("c1") + "/"); r.status != 410 {
		t.Errorf("told meanwhile: %d", r.status)
	}
}

func TestAStaleConnectionIsReplaced(t *testing.T) {
	c := start(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // closes each connection after its first response, without a word
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
				fmt.Fprint(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
			_ = nc.Close()
		}
	}()
	c.route("b1", 1, ln.Addr().String())
	nc := c.dial()
	defer nc.Close()
	br := bufio.NewReader(nc)
	for i := range 50 {
		if r := c.on(nc, br, httpHead([]string{"GET", "POST"}[i%2], string(testCluster), "/"+c.token("b1")+"/")); r.status != 200 && i%2 == 0 {
			t.Fatalf("request %d: %d", i, r.status)
		}
	}
}

func TestWorksWhileTheControllerIsAway(t *testing.T) {
	c := start(t)
	var served atomic.Int64
	c.backend("b1", 1, events(&served))
	tok, fresh, unknown := c.token("b1"), c.token("b1"), c.token("n1")
	if r := c.get("/" + tok + "/"); r.status != 200 {
		t.Fatal(r.status)
	}
	_, _, _ = c.openAll(tok)
	c.setAway(true)
	eventually(t, "loss noticed", func() bool { return !c.proxy.Ready() })
	if r := c.get("/ready"); r.status != 503 {
		t.Errorf("/ready: %d", r.status)
	}
	for what, tok := range map[string]string{"known": tok, "new": fresh, "static": c.ring.Static("b1")} {
		if r := c.get("/" + tok + "/"); r.status != 200 {
			t.Errorf("%s token: %d", what, r.status)
		}
	}
	began := time.Now()
	if r := c.get("/" + unknown + "/"); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("unknown route: %d %v", r.status, r.header)
	}
	if time.Since(began) < time.Second {
		t.Error("gave up without waiting for a reconnection")
	}
	eventually(t, "3 open", func() bool { return c.openUse("b1") == 3 })
	// Held over the reconnection.
	result := make(chan reply, 1)
	go func() { result <- c.get("/" + c.token("d1") + "/") }()
	eventually(t, "a question", func() bool { return c.proxy.asks.len() > 0 })
	c.set(plane.Route{Backend: "d1", Generation: 1, KeyHash: "d", Cluster: testCluster, Status: plane.Ready, Address: newServer(t, echo)})
	c.setAway(false)
	if r := <-result; r.status != 200 {
		t.Errorf("held over the reconnection: %d", r.status)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.hellos[len(c.hellos)-1]
	if len(last.Open) != 1 || last.Open[0].Backend != "b1" || last.Open[0].Plain != 2 || last.Open[0].Upgraded != 1 {
		t.Errorf("hello says %+v is open", last.Open)
	}
}

func TestReconnectionRevalidatesWhatIsHeld(t *testing.T) {
	c := start(t)
	var served atomic.Int64
	route := c.backend("b1", 1, events(&served))
	c.backend("c1", 1, echo)
	stream, silent, socket := c.openAll(c.token("b1"))
	route.Status, route.Revision = plane.Terminated, 0
	c.hangUp()
	c.set(route) // while nobody was told
	checkCut(t, "ended unheard", 410, stream, silent, socket)
	eventually(t, "unused routes are forgotten", func() bool {
		c.proxy.table.mu.RLock()
		defer c.proxy.table.mu.RUnlock()
		return len(c.proxy.table.backends) == 0
	})
	if r := c.get("/" + c.token("c1") + "/"); r.status != 200 {
		t.Errorf("asked anew: %d", r.status)
	}
}

func TestTrap32_AMissIsNotRemembered(t *testing.T) {
	c := start(t)
	tok := c.token("b1")
	if r := c.get("/" + tok + "/"); r.status != 410 {
		t.Fatalf("unknown: %d", r.status)
	}
	c.backend("b1", 1, echo)
	eventually(t, "the route", func() bool { return c.get("/"+tok+"/").status == 200 })
	other := c.token("c1")
	if r := c.get("/" + other + "/"); r.status != 410 {
		t.Fatalf("unknown: %d", r.status)
	}
	c.set(plane.Route{Backend: "c1", Generation: 1, KeyHash: "c", Cluster: testCluster, Status: plane.Ready, Address: newServer(t, echo)})
	eventually(t, "asked again without news", func() bool { return c.get("/"+other+"/").status == 200 })
}

func TestUnknownTokenKeysAreAskedFor(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, echo)
	k, _ := token.NewKey(2, strings.NewReader(strings.Repeat("k", 64)))
	next := token.NewKeyring([]token.Key{k}, 0, nil)
	tok, _ := next.Seal(plane.Claims{Backend: "b1", Cluster: testCluster}, time.Now())
	if r := c.get("/" + tok + "/"); r.status != 410 {
		t.Errorf("nobody has the key: %d", r.status)
	}
	c.mu.Lock()
	c.keys = append(c.keys, wire.TokenKey{Number: 2, Secret: k.Secret})
	c.mu.Unlock()
	eventually(t, "the new key", func() bool { return c.get("/"+tok+"/").status == 200 })
	for range 200 {
		forged, _ := token.NewKeyring([]token.Key{{Number: 9, Secret: k.Secret}}, 0, nil).Seal(plane.Claims{Backend: "b1", Cluster: testCluster}, time.Now())
		c.get("/" + forged + "/")
	}
	if n := count(c.controller, func(wire.KeysAsk) bool { return true }); n > 10 {
		t.Errorf("keys were asked for %d times", n)
	}
}

func TestTrap35_DrainIsBounded(t *testing.T) {
	c := start(t)
	var served atomic.Int64
	slow := make(chan struct{})
	h := http.NewServeMux()
	h.Handle("/", events(&served))
	h.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) { <-slow; fmt.Fprint(w, "done") })
	c.backend("b1", 1, h)
	tok := c.token("b1")
	result := make(chan reply, 1)
	go func() { result <- c.get("/" + tok + "/slow") }()
	c.held = 1
	stream, _, socket := c.openAll(tok)
	h2 := c.http2()
	defer h2.CloseIdleConnections()
	req, _ := http.NewRequest("GET", "http://"+c.addr+"/"+tok+"/stream", nil)
	req.Host = string(testCluster)
	resp, err := h2.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	idle := c.dial()
	defer idle.Close()
	if r := c.on(idle, bufio.NewReader(idle), httpHead("GET", string(testCluster), "/ready")); r.status != 200 {
		t.Fatal(r.status)
	}

	began := time.Now()
	c.stop()
	eventually(t, "not ready", func() bool { return !c.proxy.Ready() })
	close(slow)
	if r := <-result; r.status != 200 || r.body != "done" || !r.last {
		t.Errorf("a request that could end: %d %q", r.status, r.body)
	}
	if err := <-c.ended; err != nil {
		t.Error(err)
	}
	c.ended <- nil
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("left after %v", d)
	}
	_, _ = io.ReadAll(stream)
	_, _ = io.ReadAll(socket)
	// The last of HTTP/2's handlers counts itself out when its stream is gone.
	eventually(t, "none open after the end", func() bool { return c.openUse("b1") == 0 })
}

func TestTrap38_SlowHeadsDoNotHoldTheDoor(t *testing.T) {
	c := start(t, func(cfg *Config, _ *controller) { cfg.Timeouts.ReadHeader = time.Second })
	c.backend("b1", 1, echo)
	var slow []net.Conn
	for i := range 1000 {
		nc := c.dial()
		defer nc.Close()
		if i%2 == 0 {
			fmt.Fprint(nc, "GET / HTTP/1.1\r\nHost: localh")
		}
		slow = append(slow, nc)
	}
	if r := c.get("/" + c.token("b1") + "/"); r.status != 200 {
		t.Errorf("meanwhile: %d", r.status)
	}
	began := time.Now()
	stop := make(chan struct{})
	go func() { // drips
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				for _, nc := range slow[:10] {
					_, _ = io.WriteString(nc, "x")
				}
			}
		}
	}()
	defer close(stop)
	for _, nc := range slow {
		if _, err := io.ReadAll(nc); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatal(err)
		}
	}
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("held for %v", d)
	}
	eventually(t, "nothing left of them", func() bool {
		c.proxy.mu.Lock()
		defer c.proxy.mu.Unlock()
		return len(c.proxy.conns) == 0
	})
}
