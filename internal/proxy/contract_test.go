package proxy

import (
	"strings"
	"testing"

	"plane"
	"plane/internal/wire"
)

func TestOwnPathsAndErrors(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, echo)
	sub := c.route("s1", 1, "127.0.0.1:1")
	sub.Subdomain = "own"
	sub.Revision = 0
	c.push(sub)
	ended := c.route("e1", 1, "127.0.0.1:1")
	ended.Status, ended.Revision = plane.Terminated, 0
	c.push(ended)
	tok := c.token("b1")
	for _, test := range []struct {
		what, host, path string
		status           int
		cors             bool
	}{
		{"ready", "localhost:9090", "/ready", 200, false},
		{"ready on a foreign host", "10.1.2.3", "/ready", 200, false},
		{"ready on a host of a backend", "own.localhost:9090", "/ready", 410, true},
		{"root", "localhost:9090", "/", 400, false},
		{"no token", "localhost:9090", "//x", 400, false},
		{"own paths", "localhost:9090", "/_plane/status", 404, false},
		{"unknown token", "localhost:9090", "/nonsense/", 410, true},
		{"token", "localhost:9090", "/" + tok + "/", 200, true},
		{"token without slash", "localhost:9090", "/" + tok, 200, true},
		{"token on a foreign host", "example.com", "/" + tok + "/", 403, true},
		{"token, host in capitals", "LOCALHOST:9090", "/" + tok + "/", 200, true},
		{"token, no subdomain but one given", "x.localhost:9090", "/" + tok + "/", 403, true},
		{"token, no subdomain where one is due", "localhost:9090", "/" + c.token("s1") + "/", 403, true},
		{"host that only ends alike", "notlocalhost:9090", "/" + tok + "/", 403, true},
		{"backend that can't be reached", "own.localhost:9090", "/" + c.token("s1") + "/", 502, true},
		{"backend that ended", "localhost:9090", "/" + c.token("e1") + "/", 410, true},
		{"backend that never was", "localhost:9090", "/" + c.token("n1") + "/", 410, true},
		{"static token", "localhost:9090", "/" + c.ring.Static("b1") + "/", 200, true},
		{"static token that isn't one", "localhost:9090", "/s.x/", 410, true},
		{"token of another cluster", "localhost:9090", "/" + c.token("b1", func(c *plane.Claims) { c.Cluster = "other" }) + "/", 410, true},
		{"expired token", "localhost:9090", "/" + c.token("b1", func(c *plane.Claims) { c.Expires = 1 }) + "/", 410, true},
		{"bad host", "a b", "/" + tok + "/", 400, false},
	} {
		r := c.getOn(test.host, test.path)
		if r.status != test.status {
			t.Errorf("%s: %d, want %d", test.what, r.status, test.status)
		}
		if cors := r.header.Get("Access-Control-Allow-Origin") == "*"; cors != test.cors {
			t.Errorf("%s: CORS %v, want %v", test.what, cors, test.cors)
		}
		if r.header.Get("Server") != "Plane/1-abc" {
			t.Errorf("%s: server %q", test.what, r.header.Get("Server"))
		}
		if has := r.header.Get("X-Plane-Backend-Id") != ""; has != (r.status == 200 && test.path != "/ready" || r.status == 502) {
			t.Errorf("%s: backend id %v", test.what, r.header["X-Plane-Backend-Id"])
		}
		if r.status >= 400 && r.body != "" {
			t.Errorf("%s: body %q, want none", test.what, r.body)
		}
	}
}

func TestRootRedirectsIfTold(t *testing.T) {
	c := start(t, func(cfg *Config, _ *controller) { cfg.RootRedirect = "https://example.com/docs" })
	if r := c.get("/"); r.status != 301 || r.header.Get("Location") != "https://example.com/docs" {
		t.Errorf("%d %s", r.status, r.header)
	}
}

func TestPathsReachTheBackendByteForByte(t *testing.T) {
	c := start(t, inDev)
	route := c.backend("b1", 1, echo)
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer { return &wire.KeyAnswer{Route: &route} }
	tok, static := c.token("b1"), c.ring.Static("b1")
	for _, test := range []struct{ host, path, want, verified string }{
		{"localhost:9090", "/" + tok, "/", "/" + tok},
		{"localhost:9090", "/" + tok + "?q=1;2&%zz", "/?q=1;2&%zz", "/" + tok},
		{"localhost:9090", "/" + tok + "/a//b/../%2F%2e/|\"{}/?", "/a//b/../%2F%2e/|\"{}/?", "/" + tok + "/a//b/../%2F%2e/|\"{}/"},
		{"localhost:9090", "/" + tok + "/ü", "/ü", ""},
		{"localhost:9090", "/" + static + "/a?b", "/" + static + "/a?b", "/" + static + "/a"},
		{"localhost:9090", "/" + static, "/" + static, "/" + static},
		{"localhost:9090", "/~/doc%2F1/a?b", "/a?b", "/~/doc%2F1/a"},
		{"localhost:9090", "/~board/doc", "/", "/~board/doc"},
		{"localhost:9090", "/%7Eboard/doc//x", "//x", "/%7Eboard/doc//x"},
		{"doc.localhost:9090", "/a//b?c", "/a//b?c", "/a//b"},
		{"doc--board.localhost:9090", "/~x/y", "/~x/y", "/~x/y"},
	} {
		r := c.getOn(test.host, test.path)
		if !r.says("GET " + test.want) {
			t.Errorf("%s%s: backend saw %q", test.host, test.path, strings.SplitN(r.body, "\n", 2)[0])
		}
		if has := strings.Contains(r.body, "X-Verified-Path: "+test.verified); has != (test.verified != "") {
			t.Errorf("%s%s: verified path in\n%s", test.host, test.path, r.body)
		}
		if !r.says("host: " + test.host) {
			t.Errorf("%s: host changed", test.path)
		}
	}
}

func TestKeyURLsAskForTheirKey(t *testing.T) {
	for _, test := range []struct {
		host, path, app, name string
		dev                   bool
		status                int
	}{
		{"doc.localhost:9090", "/", "", "doc", true, 200},
		{"doc--board.localhost:9090", "/", "board", "doc", true, 200},
		{"doc--board.localhost:9090", "/x", "board", "doc", false, 200},
		{"DOC--board.localhost:9090", "/x", "board", "doc", false, 200},
		{"localhost:9090", "/~/any%20thing/", "", "any thing", true, 200},
		{"localhost:9090", "/~board/x/", "board", "x", false, 200},
		{"doc.localhost:9090", "/", "", "", false, 400},
		{"doc.localhost:9090", "/nothing", "", "", false, 410},
		{"a.b.localhost:9090", "/nothing", "", "", true, 410},
		{"xn--bcher-kva.localhost:9090", "/x", "", "", true, 410},
		{"doc--board.localhost:9090", "/_plane/x", "", "", false, 404},
		{"localhost:9090", "/~Board/x", "", "", false, 404},
		{"localhost:9090", "/~board", "", "", false, 404},
		{"localhost:9090", "/~board/%zz", "", "", false, 400},
		{"localhost:9090", "/~board/%00", "", "", false, 400},
		{"example.com", "/~board/x", "", "", false, 403},
	} {
		c := start(t, func(_ *Config, c *controller) { c.dev = test.dev })
		route := c.backend("b1", 1, echo)
		var asked []wire.KeyAsk
		c.onKey = func(a wire.KeyAsk) *wire.KeyAnswer {
			asked = append(asked, a)
			return &wire.KeyAnswer{Route: &route}
		}
		r := c.getOn(test.host, test.path)
		if r.status != test.status {
			t.Errorf("%s%s: %d, want %d", test.host, test.path, r.status, test.status)
		}
		c.mu.Lock()
		switch {
		case test.status != 200 && len(asked) > 0:
			t.Errorf("%s%s: asked %v", test.host, test.path, asked)
		case test.status == 200 && (len(asked) != 1 || asked[0].App != test.app || asked[0].Name != test.name || asked[0].Cluster != testCluster):
			t.Errorf("%s%s: asked %+v", test.host, test.path, asked)
		}
		c.mu.Unlock()
		if test.status == 200 && r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s%s: CORS on a key URL", test.host, test.path)
		}
	}
}

func TestTrap48a_OtherSitesStartNothing(t *testing.T) {
	c := start(t, inDev)
	route := c.backend("b1", 1, echo)
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer { return &wire.KeyAnswer{Route: &route} }
	for _, refused := range [][]string{
		{"Origin: http://evil.example"},
		{"Origin: null"},
		{"Origin: http://other.localhost:9090"},
		{"Origin: http://doc.localhost:9091"},
		{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"},
		{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"},
		{"Sec-Fetch-Site: cross-site"},
		{"Origin: http://evil.example", "Connection: Upgrade", "Upgrade: websocket"},
	} {
		if r := c.getOn("doc.localhost:9090", "/", refused...); r.status != 403 {
			t.Errorf("%v: %d, want 403", refused, r.status)
		}
	}
	if n := count(c.controller, func(wire.KeyAsk) bool { return true }); n != 0 {
		t.Errorf("%d keys were asked for", n)
	}
	for _, fine := range [][]string{
		nil,
		{"Origin: http://doc.localhost:9090"},
		{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"},
		{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"},
	} {
		if r := c.getOn("doc.localhost:9090", "/", fine...); r.status != 200 {
			t.Errorf("%v: %d, want 200", fine, r.status)
		}
	}
}

func TestDevTakesTokensOnAnyHostJudgedByTheHostCheck(t *testing.T) {
	c := start(t, inDev)
	route := c.backend("b1", 1, echo)
	route.Subdomain, route.Revision = "own", 0
	c.push(route)
	eventually(t, "the route", func() bool { return c.getOn("own.localhost:9090", "/"+c.token("b1")+"/").status == 200 })
	if r := c.getOn("other.localhost:9090", "/"+c.token("b1")+"/"); r.status != 403 {
		t.Errorf("on another host: %d", r.status)
	}
	if r := c.getOn("other.localhost:9090", "/"+c.ring.Static("b1")+"/"); r.status != 403 {
		t.Errorf("static on another host: %d", r.status)
	}
}

func TestErrorsOfKeyURLs(t *testing.T) {
	c := start(t, inDev)
	c.onKey = func(a wire.KeyAsk) *wire.KeyAnswer {
		switch a.Name {
		case "loop":
			return &wire.KeyAnswer{Error: &wire.Error{Kind: plane.CrashLoop, Message: "It ends.", RetryMS: 3500, Output: "boom"}}
		case "none":
			return &wire.KeyAnswer{Error: &wire.Error{Kind: plane.NotFound, Message: "No such app."}}
		}
		return nil
	}
	r := c.getOn("loop.localhost:9090", "/")
	if r.status != 503 || r.header.Get("Retry-After") != "4" || !strings.Contains(r.body, "boom") {
		t.Errorf("crash loop: %d %v %q", r.status, r.header, r.body)
	}
	if r := c.getOn("none.localhost:9090", "/"); r.status != 404 {
		t.Errorf("no app: %d", r.status)
	}
	if r := c.getOn("hang.localhost:9090", "/"); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("no answer: %d %v", r.status, r.header)
	}
}

func TestTrap34_TheApplicationsCORSStays(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, withHeader("Access-Control-Allow-Methods", "GET"))
	c.backend("c1", 1, withHeader("Server", "mine"))
	r := c.get("/" + c.token("b1") + "/")
	if r.header.Get("Access-Control-Allow-Origin") != "" || r.header.Get("Access-Control-Allow-Methods") != "GET" {
		t.Errorf("changed: %v", r.header)
	}
	r = c.get("/" + c.token("c1") + "/")
	if r.header.Get("Access-Control-Allow-Headers") != "*, Authorization" || len(r.header["Server"]) != 1 || r.header.Get("Server") != "Plane/1-abc" {
		t.Errorf("defaults: %v", r.header)
	}
}
