package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"plane"
	"plane/internal/wire"
)

// local gives b1 a route that wants to be called localhost, and the key "doc" of
// the app "board".
func local(t *testing.T, h http.Handler) (c *cluster, port string) {
	c = start(t)
	route := c.backend("b1", 1, h)
	route.Host, route.Revision = plane.HostLocalhost, 0
	c.push(route)
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer {
		r := c.routes["b1"]
		return &wire.KeyAnswer{Route: &r}
	}
	_, port, _ = net.SplitHostPort(route.Address)
	tok := c.token("b1")
	eventually(t, "the route", func() bool { return c.get("/" + tok + "/").says("host: localhost:" + port) })
	return c, port
}

func TestTrap48b_ALocalhostBackendSeesItsOwnHost(t *testing.T) {
	c, port := local(t, echo)
	tok := c.token("b1")
	for _, test := range []struct{ host, path, referer string }{
		{docHost, "/", "/page?x"},
		{"localhost:9090", "/~board/doc/", "/~board/doc/page?x"},
		{"localhost:9090", "/" + tok + "/", "/" + tok + "/page?x"},
	} {
		r := c.getOn(test.host, test.path, "Origin: http://"+test.host, "Referer: http://"+test.host+test.referer, "X-Forwarded-Host: eve")
		for _, line := range []string{
			"host: localhost:" + port, "Origin: http://localhost:" + port,
			"Referer: http://localhost:" + port + "/page?x", "X-Forwarded-Host: " + test.host,
		} {
			if !r.says(line) {
				t.Errorf("%s%s: %q isn't in\n%s", test.host, test.path, line, r.body)
			}
		}
		r = c.getOn(test.host, test.path, "Referer: https://elsewhere.example/a")
		if !r.says("Referer: https://elsewhere.example/a") {
			t.Errorf("a foreign page was renamed:\n%s", r.body)
		}
	}
	if r := c.get("/"+tok+"/", "Origin: https://elsewhere.example"); !r.says("Origin: https://elsewhere.example") {
		t.Errorf("a foreign origin was renamed:\n%s", r.body)
	}
}

func TestTrap48b_AWebSocketToALocalhostBackendPassesItsOriginCheck(t *testing.T) {
	c, _ := local(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Upgrade"), "websocket") {
			echo(w, r)
			return
		}
		ws, err := websocket.Accept(w, r, nil) // refuses an Origin that isn't its Host
		if err == nil {
			_ = ws.Close(websocket.StatusNormalClosure, "")
		}
	}))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+c.addr+"/x", &websocket.DialOptions{Host: docHost, HTTPHeader: http.Header{"Origin": {"http://" + docHost}}})
	if err != nil {
		t.Fatal(err)
	}
	_ = ws.CloseNow()
}

func TestRedirectionsLeadToWhereTheClientSeesThem(t *testing.T) {
	var c *cluster
	var port string
	c, port = local(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", strings.ReplaceAll(to, "PORT", port))
			w.WriteHeader(302)
			return
		}
		echo(w, r)
	}))
	tok := c.token("b1")
	for _, test := range []struct{ host, prefix, to, want string }{
		{docHost, "", "http://localhost:PORT/login", "/login"},
		{docHost, "", "http://127.0.0.1:PORT", "/"},
		{docHost, "", "//localhost:PORT/a%3Fb", "/a?b"},
		{docHost, "", "http://localhost:PORT//evil.example", "//" + docHost + "//evil.example"},
		{docHost, "", "/login", "/login"},
		{docHost, "", "login", "login"},
		{docHost, "", "https://elsewhere.example/", "https://elsewhere.example/"},
		{docHost, "", "http://localhost:1/", "http://localhost:1/"},
		{"localhost:9090", "/~board/doc", "http://localhost:PORT/login", "/~board/doc/login"},
		{"localhost:9090", "/~board/doc", "/login", "/~board/doc/login"},
		{"localhost:9090", "/~board/doc", "/~board/doc/login", "/~board/doc/login"},
		{"localhost:9090", "/~board/doc", "/~board/docs", "/~board/docs"},
		{"localhost:9090", "/~board/doc", "http://localhost:9090/login", "/~board/doc/login"},
		{"localhost:9090", "/~board/doc", "login", "login"},
		{"localhost:9090", "/" + tok, "http://localhost:PORT/login", "/" + tok + "/login"},
		{"localhost:9090", "/" + tok, "/login", "/login"},
	} {
		r := c.getOn(test.host, test.prefix+"/?to="+test.to)
		if got := r.header.Get("Location"); got != test.want {
			t.Errorf("%s%s: %q leads to %q, want %q", test.host, test.prefix, test.to, got, test.want)
		}
	}
}

func TestThePathFormTellsItsPrefix(t *testing.T) {
	c := start(t, inDev)
	route := c.backend("b1", 1, echo)
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer { return &wire.KeyAnswer{Route: &route} }
	r := c.get("/~board/doc%201/a", "X-Forwarded-Prefix: /eve", "x_forwarded_host: eve")
	if !r.says("GET /a") || !r.says("X-Forwarded-Prefix: /~board/doc%201") || !r.says("X-Forwarded-Host: localhost:9090") || strings.Contains(r.body, "eve") {
		t.Errorf("%s", r.body)
	}
	if r := c.getOn(docHost, "/a", "X-Forwarded-Prefix: /eve"); strings.Contains(strings.ToLower(r.body), "x-forwarded-prefix") {
		t.Errorf("a prefix on a host:\n%s", r.body)
	}
	if r := c.get("/~board/doc?x=1", "Accept: text/html"); r.status != 307 || r.header.Get("Location") != "/~board/doc/?x=1" {
		t.Errorf("a page without its slash: %d %v", r.status, r.header)
	}
	if r := c.get("/~board/doc?x=1"); r.status != 200 || !r.says("GET /?x=1") {
		t.Errorf("a script without the slash: %d %s", r.status, r.body)
	}
}

func TestTrap37_NoCookieReachesWiderThanItsBackend(t *testing.T) {
	host, path := way{visited: docHost, key: true}, way{visited: "localhost:9090", key: true, prefix: "/~board/doc", bare: true}
	tok := way{visited: "localhost:9090", prefix: "/TOKEN", bare: true}
	for _, test := range []struct {
		what     string
		w        way
		set, got string
	}{
		{"plain", host, "a=b", "a=b"},
		{"all kept", host, "a=b; Path=/x; Secure; HttpOnly; Max-Age=3", "a=b; Path=/x; Secure; HttpOnly; Max-Age=3"},
		{"own domain", host, "a=b; Domain=doc--board.localhost", "a=b; Domain=doc--board.localhost"},
		{"wider", host, "a=b; domain=.LOCALHOST; Path=/", "a=b; Path=/"},
		{"wider, last", host, "a=b; Path=/; Domain=localhost", "a=b; Path=/"},
		{"twice", host, "a=b; Domain=localhost; Domain=localhost", "a=b"},
		{"ours", host, "plane=x; Path=/", ""},
		{"ours, secured", host, "__Host-plane=x", ""},
		{"ours, nameless", host, "=plane=x", ""},
		{"token, bare host", tok, "a=b; Domain=localhost; Path=/", "a=b; Path=/"},
		{"path form, whole host", path, "a=b; Path=/; HttpOnly", "a=b; Path=/~board/doc; HttpOnly"},
		{"path form, below", path, "a=b; Path=/x", "a=b; Path=/~board/doc/x"},
		{"path form, knows", path, "a=b; Path=/~board/doc/x", "a=b; Path=/~board/doc/x"},
		{"path form, neighbour", path, "a=b; Path=/~board/docs", "a=b; Path=/~board/doc/~board/docs"},
		{"path form, none", path, "a=b", "a=b; Path=/~board/doc"},
		{"path form, empty", path, "a=b; Path", "a=b; Path=/~board/doc; Path=/~board/doc"},
		{"path form, domain", path, "a=b; Domain=localhost", "a=b; Path=/~board/doc"},
		{"path that can't be said", way{visited: "localhost:9090", key: true, prefix: "/~board/a;b", bare: true}, "a=b", ""},
	} {
		if got := test.w.setCookie(test.set); got != test.got {
			t.Errorf("%s: %q became %q, want %q", test.what, test.set, got, test.got)
		}
	}
	c := start(t, inDev)
	route := c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "a=b; Domain=localhost; Path=/")
		w.Header().Add("Set-Cookie", "plane=stolen")
		w.Header().Set("Service-Worker-Allowed", "/")
	}))
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer { return &wire.KeyAnswer{Route: &route} }
	for _, test := range []struct{ host, path, want, worker string }{
		{docHost, "/", "[a=b; Path=/]", "/"},
		{"localhost:9090", "/~board/doc/", "[a=b; Path=/~board/doc]", ""},
		{"localhost:9090", "/" + c.token("b1") + "/", "[a=b; Path=/]", ""},
	} {
		r := c.getOn(test.host, test.path)
		if got := fmt.Sprint(r.header["Set-Cookie"]); got != test.want || r.header.Get("Service-Worker-Allowed") != test.worker {
			t.Errorf("%s%s: %s, worker %q", test.host, test.path, got, r.header.Get("Service-Worker-Allowed"))
		}
	}
}

func TestPlanesCookieNeverReachesABackend(t *testing.T) {
	for _, test := range [][2]string{
		{"plane=x", ""},
		{"a=b; plane=x; c=d", "a=b; c=d"},
		{"__Host-plane=x;a=b", "a=b"},
		{"airplane=x; plane2=y", "airplane=x; plane2=y"},
	} {
		if got := foreignCookies(test[0]); got != test[1] {
			t.Errorf("%q: %q", test[0], got)
		}
	}
	c := start(t)
	c.backend("b1", 1, echo)
	if r := c.get("/"+c.token("b1")+"/", "Cookie: plane=secret; a=b"); strings.Contains(r.body, "secret") || !r.says("Cookie: a=b") {
		t.Errorf("%s", r.body)
	}
}

func TestATokenMayNameAFurtherPort(t *testing.T) {
	c := start(t)
	route := c.backend("b1", 1, echo)
	other := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metrics") }))
	route.Ports, route.Revision = map[string]string{"metrics": other}, 0
	c.push(route)
	main, port := c.token("b1"), c.token("b1", func(c *plane.Claims) { c.Port = "metrics" })
	none := c.token("b1", func(c *plane.Claims) { c.Port = "none" })
	eventually(t, "the port", func() bool { return c.get("/"+port+"/").status == 200 })
	for range 3 { // kept connections go back to where they lead
		if r := c.get("/" + port + "/"); r.body != "metrics" {
			t.Errorf("the port: %d %q", r.status, r.body)
		}
		if r := c.get("/" + main + "/"); r.status != 200 || !r.says("GET /") {
			t.Errorf("the main one: %d %q", r.status, r.body)
		}
	}
	if r := c.get("/" + none + "/"); r.status != 404 {
		t.Errorf("a port that isn't: %d", r.status)
	}
}
