package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"plane"
	"plane/internal/wire"
)

// mortal is a cluster whose key "doc" gets a new backend whenever the last one
// has died, which each does when it is asked for /kill.
func mortal(t *testing.T) (c *cluster, deaths func() int) {
	c = start(t, inDev)
	var now plane.Route
	dead, live := 0, false
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer { // called with c locked
		if !live {
			live = true
			var s *http.Server
			id := plane.BackendID(fmt.Sprintf("b%d", dead+1))
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/kill" {
					echo.ServeHTTP(w, r)
					return
				}
				c.mu.Lock()
				ended := now
				dead, live = dead+1, false
				c.mu.Unlock()
				_ = s.Close()
				ended.Status, ended.Address, ended.Revision = plane.Terminated, "", 0
				ended.End = &plane.RouteEnd{Message: "Ended by itself because it used more memory than its limit.", Output: "allocating <much>"}
				c.push(ended)
			})
			var address string
			s, address = serve(t, h)
			now = plane.Route{
				Backend: id, Generation: plane.Generation(dead + 1), KeyHash: plane.Key{Name: "doc"}.Hash(),
				Cluster: testCluster, Status: plane.Ready, Address: address,
			}
			c.setLocked(&now)
		}
		r := now
		return &wire.KeyAnswer{Route: &r}
	}
	return c, func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return dead
	}
}

func TestARequestThatEndsItsBackendEndsOne(t *testing.T) {
	c, deaths := mortal(t)
	for i, method := range []string{"GET", "HEAD", "PUT"} {
		for j, first := range []bool{false, true} { // over a new connection, and over a kept one
			if first {
				if r := c.getOn("doc.localhost:9090", "/"); r.status != 200 {
					t.Fatalf("%s: %d", method, r.status)
				}
			}
			r := c.raw(httpHead(method, "doc.localhost:9090", "/kill", "Content-Length: 0"))
			if r.status != 503 || r.header.Get("Retry-After") == "" || r.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v", method, r.status, r.header)
			}
			if method != "HEAD" && !strings.Contains(r.body, "ended while it answered this request") {
				t.Errorf("%s: %q", method, r.body)
			}
			if want := 2*i + j + 1; deaths() != want {
				t.Fatalf("%s: %d deaths, want %d", method, deaths(), want)
			}
		}
	}
	if r := c.getOn("doc.localhost:9090", "/"); r.status != 200 {
		t.Errorf("the next request: %d", r.status)
	}
}

func TestAPageThatEndsItsBackendDoesNotLoadItselfAgain(t *testing.T) {
	c, deaths := mortal(t)
	r := c.getOn("doc.localhost:9090", "/kill", asPage)
	for _, want := range []string{"<title>It ended while it answered · doc</title>", "more memory than its limit", "allocating &lt;much&gt;", " data-stays", `data-retry="0"`, "Start again"} {
		if !strings.Contains(r.body, want) {
			t.Errorf("%q isn't in the page", want)
		}
	}
	if strings.Contains(r.body, `http-equiv="refresh"`) || r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", r.status, r.header, r.body)
	}
	if n := deaths(); n != 1 {
		t.Errorf("%d deaths", n)
	}
}
