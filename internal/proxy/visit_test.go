package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"plane"
	"plane/internal/token"
	"plane/internal/wire"
)

// private is a cluster whose app "board" lets in only who came with a token. Its
// key "doc" has the backend b1, which is ready.
func private(t *testing.T, h http.Handler) (*cluster, plane.Route) {
	c := start(t)
	route := plane.Route{
		Backend: "b1", Generation: 1, KeyHash: plane.Key{Name: "doc", Namespace: "board"}.Hash(), Cluster: testCluster,
		Status: plane.Ready, Address: newServer(t, h), App: "board", Access: plane.AccessToken,
		StaticHash: token.StaticHash(c.ring.Static("b1")),
	}
	c.push(route)
	c.onKey = func(a wire.KeyAsk) *wire.KeyAnswer {
		if a.Visitor == nil {
			return &wire.KeyAnswer{Error: &wire.Error{Kind: plane.Unauthorized, Message: "No."}}
		}
		r := c.routes["b1"]
		return &wire.KeyAnswer{Route: &r}
	}
	return c, route
}

const docHost = "doc--board.localhost:9090"

// enter opens a link and gives the cookie that it sets.
func (c *cluster) enter(host, prefix, tok string) (cookie string, r reply) {
	c.t.Helper()
	r = c.getOn(host, prefix+"/_plane/enter/"+tok+"/a/b?q=1")
	cookie, _, _ = strings.Cut(r.header.Get("Set-Cookie"), ";")
	if r.status != 303 || cookie == "" {
		c.t.Fatalf("enter: %d %v %s", r.status, r.header, r.body)
	}
	return cookie, r
}

func TestALinkBecomesACookieAndStartsNothing(t *testing.T) {
	c, _ := private(t, echo)
	tok := c.token("b1", forUser("alice"))
	_, r := c.enter(docHost, "", tok)
	if r.header.Get("Location") != "/a/b?q=1" || r.header.Get("Referrer-Policy") != "no-referrer" || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", r.header)
	}
	if set := r.header.Get("Set-Cookie"); !strings.HasPrefix(set, "plane=") || !strings.HasSuffix(set, "; Path=/; HttpOnly; SameSite=Lax") {
		t.Errorf("cookie %q", set)
	}
	_, r = c.enter("localhost:9090", "/~board/doc", tok)
	if set := r.header.Get("Set-Cookie"); r.header.Get("Location") != "/~board/doc/a/b?q=1" || !strings.Contains(set, "; Path=/~board/doc/;") {
		t.Errorf("%v", r.header)
	}
	for path, to := range map[string]string{
		"/_plane/enter/" + tok:                       "/",
		"/_plane/enter/" + tok + "/":                 "/",
		"/_plane/enter/" + tok + "//evil.example/x":  "/evil.example/x",
		"/_plane/enter/" + tok + `/\/\evil.example/`: "/evil.example/",
	} {
		if r := c.getOn(docHost, path); r.status != 303 || r.header.Get("Location") != to {
			t.Errorf("%s: %d to %q, want %q", path, r.status, r.header.Get("Location"), to)
		}
	}
	soon := c.token("b1", func(c *plane.Claims) { c.Expires = time.Now().Unix() + 100 })
	if r := c.getOn(docHost, "/_plane/enter/"+soon+"/"); !strings.Contains(r.header.Get("Set-Cookie"), "Max-Age=") {
		t.Errorf("cookie of a token that expires: %q", r.header.Get("Set-Cookie"))
	}
	if n := count(c.controller, func(wire.KeyAsk) bool { return true }); n != 0 {
		t.Errorf("%d keys were asked for", n)
	}
}

func TestLinksThatLetNobodyIn(t *testing.T) {
	c, _ := private(t, echo)
	cookie, _ := c.enter(docHost, "", c.token("b1"))
	revoked := c.routes["b1"]
	revoked.Revocation, revoked.Revoked, revoked.Revision = 1, map[string]int64{"eve": 1}, 0
	c.push(revoked)
	for _, test := range []struct {
		what, host, tok string
		status          int
	}{
		{"nonsense", docHost, "nonsense", 410},
		{"a cookie", docHost, strings.TrimPrefix(cookie, "plane="), 410},
		{"of a backend that isn't there", docHost, c.token("gone"), 410},
		{"expired", docHost, c.token("b1", func(c *plane.Claims) { c.Expires = 1 }), 410},
		{"of another key", "other--board.localhost:9090", c.token("b1"), 403},
		{"of another app", "doc--other.localhost:9090", c.token("b1"), 403},
		{"of another cluster", docHost, c.token("b1", func(c *plane.Claims) { c.Cluster = "other" }), 403},
		{"of a further port", docHost, c.token("b1", func(c *plane.Claims) { c.Port = "metrics" }), 404},
		{"too large for a cookie", docHost, c.token("b1", func(c *plane.Claims) { c.Auth = []byte(`{"a":"` + strings.Repeat("x", 4000) + `"}`) }), 400},
	} {
		if r := c.getOn(test.host, "/_plane/enter/"+test.tok+"/"); r.status != test.status || r.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v, want %d", test.what, r.status, r.header, test.status)
		}
	}
	eventually(t, "a revoked user's link is refused", func() bool {
		return c.getOn(docHost, "/_plane/enter/"+c.token("b1", forUser("eve"))+"/").status == 410
	})
	if r := c.get("/" + strings.TrimPrefix(cookie, "plane=") + "/"); r.status != 410 {
		t.Errorf("a cookie as a token: %d", r.status)
	}
	if r := c.raw(httpHead("POST", docHost, "/_plane/enter/"+c.token("b1")+"/")); r.status != 404 {
		t.Errorf("POST: %d", r.status)
	}
}

func TestWithoutACookieNothingStartsAndThePageSaysWhatToDo(t *testing.T) {
	c, _ := private(t, echo)
	for _, lines := range [][]string{nil, {"Cookie: plane=nonsense"}, {"Cookie: plane=" + c.token("b1")}, {"Cookie: a=b; __Host-plane=x; plane="}} {
		r := c.getOn(docHost, "/", lines...)
		if r.status != 401 || !strings.Contains(r.body, "a link") || r.header.Get("Www-Authenticate") == "" || r.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%v: %d %v %q", lines, r.status, r.header, r.body)
		}
		if r := c.getOn(docHost, "/", append(lines, "Accept: text/html")...); r.status != 401 || !strings.Contains(r.body, "<h1 id=\"heading\">A link is needed</h1>") {
			t.Errorf("%v: %d %q", lines, r.status, r.body)
		}
	}
	await(c.controller, func(wire.KeyAsk) bool { return true })
	if n := count(c.controller, func(a wire.KeyAsk) bool { return a.Visitor != nil }); n != 0 {
		t.Errorf("%d visitors out of nothing", n)
	}
	if r := c.getOn(docHost, "/_plane/status"); r.status != 401 {
		t.Errorf("its status: %d", r.status)
	}
}

func TestTrap29_ACookiesIdentityOnEveryWay(t *testing.T) {
	h := http.NewServeMux()
	h.Handle("/", echo)
	h.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		var b strings.Builder
		_ = r.Header.Write(&b)
		_ = ws.Write(r.Context(), websocket.MessageText, []byte(b.String()))
		_ = ws.Close(websocket.StatusNormalClosure, "")
	})
	c, route := private(t, h)
	tok := c.token("b1", forUser("alice"), func(c *plane.Claims) { c.Auth = []byte(`{"role":"editor"}`) })
	cookie, _ := c.enter(docHost, "", tok)
	onPath, _ := c.enter("localhost:9090", "/~board/doc", tok)
	check := func(what, seen string) {
		t.Helper()
		checkIdentity(t, what, seen, "alice", `{"role":"editor"}`, "")
		if strings.Contains(seen, "plane=") || !strings.Contains(seen, "theirs=1; more=2") {
			t.Errorf("%s: cookies in\n%s", what, seen)
		}
	}
	lines := append([]string{"Cookie: theirs=1; " + cookie + "; more=2"}, spoofs[:10]...)

	waiting := route
	waiting.Status, waiting.Address, waiting.Backend, waiting.Generation = plane.Waiting, "", "b2", 2
	done := make(chan struct{})
	c.push(waiting) // a later backend of the key
	c.onKey = func(a wire.KeyAsk) *wire.KeyAnswer {
		if a.Visitor == nil || a.Visitor.Backend != "b1" || *a.Visitor.User != "alice" {
			return &wire.KeyAnswer{Error: &wire.Error{Kind: plane.Unauthorized}}
		}
		r := c.routes["b2"]
		return &wire.KeyAnswer{Route: &r}
	}
	go func() {
		defer close(done)
		for range 2000 {
			if c.waiters("b2") > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		ready := waiting
		ready.Status, ready.Address, ready.Revision = plane.Ready, route.Address, 0
		c.push(ready)
	}()
	seen := func(s string) string {
		return strings.ReplaceAll(s, "X-Verified-Backend: b2", "X-Verified-Backend: b1")
	}
	check("waiting, later backend", seen(c.getOn(docHost, "/", lines...).body))
	<-done
	check("first", seen(c.getOn(docHost, "/", lines...).body))
	nc := c.dial()
	defer nc.Close()
	br := bufio.NewReader(nc)
	for range 3 {
		check("cached", seen(c.on(nc, br, httpHead("GET", docHost, "/", lines...)).body))
	}
	check("path form", seen(c.get("/~board/doc/", append([]string{"Cookie: theirs=1; " + onPath + "; more=2"}, spoofs[:10]...)...).body))

	header := http.Header{}
	for _, s := range lines {
		name, value, _ := strings.Cut(s, ": ")
		header[name] = append(header[name], value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	header.Set("Origin", "http://"+docHost)
	ws, _, err := websocket.Dial(ctx, "ws://"+c.addr+"/ws", &websocket.DialOptions{HTTPHeader: header, Host: docHost})
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = ws.CloseNow()
	check("upgrade", seen(string(text)))
	header.Set("Origin", "http://evil.example")
	if _, resp, err := websocket.Dial(ctx, "ws://"+c.addr+"/ws", &websocket.DialOptions{HTTPHeader: header, Host: docHost}); err == nil || resp == nil || resp.StatusCode != 403 {
		t.Errorf("a WebSocket of another origin with the cookie: %v %v", resp, err)
	}

	h2 := c.http2()
	defer h2.CloseIdleConnections()
	header.Set("Origin", "http://"+docHost)
	req, _ := http.NewRequest("POST", "http://"+c.addr+"/", strings.NewReader("body"))
	req.Host, req.Header = docHost, header
	resp, err := h2.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	_, _ = bufio.NewReader(resp.Body).WriteTo(&b)
	resp.Body.Close()
	check("HTTP/2", seen(b.String()))

	if n := count(c.controller, func(a wire.KeyAsk) bool { return true }); n > 3 {
		t.Errorf("the controller was asked %d times; who was let in once is remembered", n)
	}
}

func TestALaterBackendLetsInWhoItsControllerLetsIn(t *testing.T) {
	c, route := private(t, echo)
	cookie, _ := c.enter(docHost, "", c.token("b1", forUser("eve")))
	if r := c.getOn(docHost, "/", "Cookie: "+cookie); r.status != 200 {
		t.Fatalf("own backend: %d", r.status)
	}
	next := route
	next.Backend, next.Generation, next.Revision = "b2", 2, 0
	c.told(next)
	c.onKey = func(a wire.KeyAsk) *wire.KeyAnswer {
		if a.Visitor == nil || a.Visitor.Backend != "b1" {
			t.Errorf("visitor %+v", a.Visitor)
		}
		return &wire.KeyAnswer{Error: &wire.Error{Kind: plane.Unauthorized, Message: "Revoked."}}
	}
	if r := c.getOn(docHost, "/", "Cookie: "+cookie); r.status != 401 {
		t.Errorf("refused by the controller: %d", r.status)
	}
	if r := c.getOn(docHost, "/", "Cookie: "+cookie, "Accept: text/html"); r.status != 401 {
		t.Errorf("refused by the controller, page: %d", r.status)
	}
	// A later backend's revocation of the user holds, whatever number the cookie has.
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer {
		r := c.routes["b2"]
		return &wire.KeyAnswer{Route: &r}
	}
	if r := c.getOn(docHost, "/", "Cookie: "+cookie); r.status != 200 {
		t.Fatalf("let in: %d", r.status)
	}
	next.Revocation, next.Revoked, next.Revision = 1, map[string]int64{"eve": 1}, 0
	c.push(next)
	eventually(t, "the revocation", func() bool { return c.getOn(docHost, "/", "Cookie: "+cookie).status == 401 })
}

func TestACookieOfARevokedUserIsCut(t *testing.T) {
	var served atomic.Int64
	c, route := private(t, events(&served))
	cookie, _ := c.enter(docHost, "", c.token("b1", forUser("eve")))
	open := func(path string, more ...string) *bufio.Reader {
		nc := c.dial()
		t.Cleanup(func() { nc.Close() })
		fmt.Fprint(nc, httpHead("GET", docHost, path, append(more, "Cookie: "+cookie)...))
		return bufio.NewReader(nc)
	}
	stream, silent, socket := open("/stream"), open("/silent"), open("/socket", "Connection: Upgrade", "Upgrade: x")
	for _, br := range []*bufio.Reader{stream, socket} {
		if _, err := http.ReadResponse(br, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three open", func() bool { return c.openUse("b1") == 3 })
	route.Revocation, route.Revoked, route.Revision = 1, map[string]int64{"eve": 1}, 0
	c.push(route)
	checkCut(t, "revoked", 401, stream, silent, socket)
}

func TestACookieExpiresForNewRequests(t *testing.T) {
	c, _ := private(t, echo)
	soon := time.Now().Unix() + 2
	cookie, _ := c.enter(docHost, "", c.token("b1", func(c *plane.Claims) { c.Expires = soon }))
	nc := c.dial()
	defer nc.Close()
	br := bufio.NewReader(nc)
	ask := func() int { return c.on(nc, br, httpHead("GET", docHost, "/", "Cookie: "+cookie)).status }
	if s := ask(); s != 200 {
		t.Fatalf("before: %d", s)
	}
	eventually(t, "expiry", func() bool { return ask() == 401 })
	if time.Now().Unix() < soon {
		t.Error("expired too early")
	}
}

func TestAPublicKeyKnowsWhoEnteredAndLetsEverybodyIn(t *testing.T) {
	c, route := private(t, echo)
	route.Access, route.Revision = plane.AccessPublic, 0
	c.told(route)
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer { return &wire.KeyAnswer{Route: &route} }
	cookie, _ := c.enter(docHost, "", c.token("b1", forUser("alice")))
	if r := c.getOn(docHost, "/", "Cookie: "+cookie); r.status != 200 || !r.says("X-Verified-Username: alice") {
		t.Errorf("%d\n%s", r.status, r.body)
	}
	if r := c.getOn(docHost, "/"); r.status != 200 || strings.Contains(r.body, "X-Verified-Username") {
		t.Errorf("%d\n%s", r.status, r.body)
	}
	// The cookie of another key says nothing here.
	if r := c.getOn("other--board.localhost:9090", "/", "Cookie: "+cookie); strings.Contains(r.body, "X-Verified-Username") {
		t.Errorf("%d\n%s", r.status, r.body)
	}
}

func TestACookieIsFoundWhereverItStands(t *testing.T) {
	c, _ := private(t, echo)
	cookie, _ := c.enter(docHost, "", c.token("b1", forUser("alice")))
	for _, lines := range [][]string{
		{"Cookie: " + cookie + "; a=1"},
		{"Cookie: a=1; " + cookie},
		{"Cookie: " + cookie, "Cookie: xplane=1"},
		{"Cookie: xplane=1", "Cookie: " + cookie},
	} {
		r := c.getOn(docHost, "/x", lines...)
		if !r.says("X-Verified-Username: alice") || strings.Contains(r.body, cookie) {
			t.Errorf("%q: %d %s", lines, r.status, r.body)
		}
	}
}

func TestAKeysNameSaysNothingInItsCookie(t *testing.T) {
	c := start(t)
	key := plane.Key{Name: "doc;Domain=localhost", Namespace: "board"}
	c.push(plane.Route{
		Backend: "b1", Generation: 1, KeyHash: key.Hash(), Cluster: testCluster,
		Status: plane.Ready, Address: newServer(t, echo), App: "board", Access: plane.AccessToken,
	})
	tok := c.token("b1")
	r := c.get("/~board/doc;Domain=localhost/_plane/enter/" + tok + "/a?q=1")
	to := "/~board/doc%3BDomain=localhost/_plane/enter/" + tok + "/a?q=1"
	if r.status != 303 || r.header.Get("Set-Cookie") != "" || r.header.Get("Location") != to {
		t.Errorf("%d %v", r.status, r.header)
	}
	r = c.get(to)
	if set := r.header.Get("Set-Cookie"); !strings.Contains(set, "; Path=/~board/doc%3BDomain=localhost/;") || strings.Contains(set, ";Domain") {
		t.Errorf("cookie %q", set)
	}
	if to := r.header.Get("Location"); to != "/~board/doc%3BDomain=localhost/a?q=1" {
		t.Errorf("leads to %q", to)
	}
}

func TestUnderHTTPSOnlyTheSecuredCookieCounts(t *testing.T) {
	for _, test := range []struct{ scheme, prefix, want string }{
		{"http", "", "plane"}, {"http", "/~board/doc", "plane"}, {"https", "", "__Host-plane"}, {"https", "/~board/doc", "plane"},
	} {
		c, _ := private(t, echo)
		x := &exchange{p: c.proxy, scheme: test.scheme, req: &request{}}
		tok := c.token("b1", func(c *plane.Claims) { c.KeyHash = plane.Key{Name: "doc", Namespace: "board"}.Hash() })
		for _, name := range []string{"plane", "__Host-plane"} {
			x.req.cookie = name + "=" + tok
			claims, _, refused := x.openCookies(t.Context(), target{app: "board", name: "doc", prefix: test.prefix}, time.Now())
			if taken := claims != nil; refused != nil || taken != (name == test.want) {
				t.Errorf("%s %q: %s is taken: %v", test.scheme, test.prefix, name, taken)
			}
		}
	}
}
