package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/wire"
)

func TestAHostThatNoKeyCanHaveIsExplainedInPlaneDev(t *testing.T) {
	c, prod := start(t, inDev), start(t)
	for host, want := range map[string]string{
		"a_b":                            "/~/a_b/",
		"a.b":                            "/~/a.b/",
		"-x":                             "/~/-x/",
		"a_b--board":                     "/~board/a_b/",
		"xn--bcher-kva":                  "/~/" + url.PathEscape("bücher") + "/",
		"xn--bcher-kva.x":                "/~/" + url.PathEscape("bücher.x") + "/",
		"xn--ihqwcrb4cv8a8dqg056pqjye":   "/~/" + url.PathEscape("他们为什么不说中文") + "/",
		"xn--!":                          "/~/xn--%21/",
		"xn--99999999999999999999999999": "/~/xn--99999999999999999999999999/",
	} {
		for path, status := range map[string]int{"/": 400, "/x": 410} {
			r := c.getOn(host+".localhost:9090", path, asPage)
			if r.status != status || !strings.Contains(r.body, `href="//localhost:9090`+want+`"`) || !strings.Contains(r.body, "single hyphens") {
				t.Errorf("%s%s: %d\n%s", host, path, r.status, r.body)
			}
			if r := c.getOn(host+".localhost:9090", path); r.status != status || r.body != "" {
				t.Errorf("%s%s for a script: %d %q", host, path, r.status, r.body)
			}
			if r := prod.getOn(host+".localhost:9090", path, asPage); strings.Contains(r.body, "single hyphens") {
				t.Errorf("%s%s outside plane dev: %d", host, path, r.status)
			}
		}
	}
	if n := count(c.controller, func(wire.KeyAsk) bool { return true }); n != 0 {
		t.Errorf("%d keys were asked for", n)
	}
}

func TestBareHostOfPlaneDevTellsProgramsWhereKeysAre(t *testing.T) {
	c := start(t, inDev)
	for _, r := range []reply{c.get("/"), c.get("/", "Accept: */*"), c.raw(httpHead("POST", "localhost:9090", "/", "Content-Length: 0"))} {
		if r.status != 400 || !strings.Contains(r.body, "http://KEY.localhost:9090/") || r.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%d %v %q", r.status, r.header, r.body)
		}
	}
	if r := c.getOn("10.1.2.3", "/"); r.status != 400 || r.body != "" {
		t.Errorf("on a foreign host: %d %q", r.status, r.body)
	}
	if r := start(t).get("/"); r.status != 400 || r.body != "" {
		t.Errorf("outside plane dev: %d %q", r.status, r.body)
	}
}

func TestWhoNeedsALinkIsToldHowToMakeOneInPlaneDev(t *testing.T) {
	c := start(t, inDev)
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer {
		return &wire.KeyAnswer{Error: &wire.Error{Kind: plane.Unauthorized, Message: "No."}}
	}
	for _, test := range []struct{ host, path, want string }{
		{docHost, "/", "plane open board/doc\n"},
		{"doc.localhost:9090", "/", "plane open doc\n"},
		{"localhost:9090", "/~board/it%27s/", `plane open 'board/it'\''s'` + "\n"},
		{"localhost:9090", "/~board/a%0ab/", "plane open KEY\n"},
		{docHost, "/_plane/status", "plane open board/doc\n"},
	} {
		r := c.getOn(test.host, test.path)
		if r.status != 401 || !strings.Contains(r.body, test.want) || !strings.Contains(r.body, "urls.key") {
			t.Errorf("%s%s: %d %q", test.host, test.path, r.status, r.body)
		}
	}
	if r := c.getOn(docHost, "/", asPage); r.status != 401 || !strings.Contains(r.body, "plane open board/doc") {
		t.Errorf("page: %d %s", r.status, r.body)
	}
	prod, _ := private(t, echo)
	for _, lines := range [][]string{nil, {asPage}} {
		if r := prod.getOn(docHost, "/", lines...); r.status != 401 || strings.Contains(r.body, "plane open") || !strings.Contains(r.body, "ask whoever runs") {
			t.Errorf("outside plane dev: %d %q", r.status, r.body)
		}
	}
}

func TestWhatNeverListensIsSaidWithItsAddress(t *testing.T) {
	c, route := booting(t, func(cfg *Config, _ *controller) { cfg.Timeouts.KeyReady = 200 * time.Millisecond })
	route.Status, route.Address = plane.Waiting, "127.0.0.1:4711"
	c.push(route)
	if r := c.getOn("doc.localhost:9090", "/", asPage); r.status != 503 || !strings.Contains(r.body, `data-status="waiting"`) || !strings.Contains(r.body, `data-address="127.0.0.1:4711"`) {
		t.Errorf("page: %d\n%s", r.status, r.body)
	}
	if r := c.getOn("doc.localhost:9090", "/"); r.status != 503 || !strings.Contains(r.body, "127.0.0.1:4711") || !strings.Contains(r.body, "127.0.0.1:$PORT") {
		t.Errorf("no page: %d %q", r.status, r.body)
	}
	next, stop := c.follow("doc.localhost:9090", "")
	defer stop()
	if g := next(); g.Address != "127.0.0.1:4711" {
		t.Errorf("%+v", g)
	}
	route.Status, route.Address, route.Revision = plane.Terminated, "", 0
	route.End = &plane.RouteEnd{Message: "Ended by itself with exit code 0.", Early: true}
	c.push(route)
	eventually(t, "its end, without a page", func() bool {
		r := c.getOn("doc.localhost:9090", "/")
		return strings.Contains(r.body, "exit code 0.\nA program must") && strings.Contains(r.body, "listen on 127.0.0.1:$PORT")
	})
	eventually(t, "its end", func() bool {
		r := c.getOn("doc.localhost:9090", "/", asPage)
		return strings.Contains(r.body, "exit code 0") && strings.Contains(r.body, "listen on 127.0.0.1:$PORT") && !strings.Contains(r.body, "See its last lines")
	})
}

func TestSecureCookiesAreForHTTPSAndNoFieldOfAClientMakesIt(t *testing.T) {
	c, _ := private(t, echo)
	tok := c.token("b1", forUser("alice"))
	c.enter(docHost, "", tok) // the route is known from now on
	for _, test := range []struct{ scheme, prefix, begins string }{
		{"http", "", "plane="}, {"http", "/~board/doc", "plane="}, {"https", "", "__Host-plane="}, {"https", "/~board/doc", "plane="},
	} {
		x := &exchange{p: c.proxy, scheme: test.scheme, req: &request{}}
		t1 := target{meaning: meansOwn, app: "board", name: "doc", prefix: test.prefix}
		a := x.enter(t.Context(), t1, "/"+tok+"/")
		set := ""
		for _, f := range a.fields {
			if f.name == "set-cookie" {
				set = f.value
			}
		}
		k, err := http.ParseSetCookie(set)
		if err != nil || a.status != 303 || !strings.HasPrefix(set, test.begins) {
			t.Fatalf("%s %q: %d %q %v", test.scheme, test.prefix, a.status, set, err)
		}
		if k.Secure != (test.scheme == "https") || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != test.prefix+"/" || k.Domain != "" {
			t.Errorf("%s %q: %q", test.scheme, test.prefix, set)
		}
		x.req.cookie = k.Name + "=" + k.Value // what a browser sends next lets it in
		claims, _, refused := x.openCookies(t.Context(), t1, time.Now())
		if refused != nil || claims == nil || claims.UserName() != "alice" {
			t.Errorf("%s %q: let in as %v", test.scheme, test.prefix, claims)
		}
	}
	r := c.getOn(docHost, "/_plane/enter/"+tok+"/", "X-Forwarded-Proto: https", "Forwarded: proto=https", "X-Forwarded-Ssl: on")
	if set := r.header.Get("Set-Cookie"); r.status != 303 || !strings.HasPrefix(set, "plane=") || strings.Contains(set, "Secure") {
		t.Errorf("a client that says it came by https: %d %q", r.status, set)
	}
}
