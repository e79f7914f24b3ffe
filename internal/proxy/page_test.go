package proxy

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/wire"
)

const asPage = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"

// booting is a cluster whose key "doc" gets the backend b1, which isn't ready.
func booting(t *testing.T, change ...func(*Config, *controller)) (*cluster, plane.Route) {
	c := start(t, append(change, inDev)...)
	route := plane.Route{Backend: "b1", Generation: 7, KeyHash: plane.Key{Name: "doc"}.Hash(), Cluster: testCluster, Status: plane.Starting}
	c.onKey = func(a wire.KeyAsk) *wire.KeyAnswer {
		if a.Name != "doc" {
			return nil
		}
		r := route
		if now, ok := c.routes["b1"]; ok {
			r = now
		}
		return &wire.KeyAnswer{Key: plane.Key{Name: "doc"}, Route: &r}
	}
	return c, route
}

func TestTheWaitingPageComesAtOnceAndTheStartGoesOn(t *testing.T) {
	c, route := booting(t)
	best := time.Hour
	var r reply
	for range 5 { // of which the fastest is the proxy's own time
		began := time.Now()
		r = c.getOn("doc.localhost:9090", "/x", asPage)
		best = min(best, time.Since(began))
		if r.status != 503 || r.header.Get("Retry-After") != "1" || r.header.Get("Cache-Control") != "no-store" || r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Fatalf("%d %v", r.status, r.header)
		}
	}
	if best > 200*time.Millisecond {
		t.Errorf("shown after %v, want 200 ms at most", best)
	}
	for _, want := range []string{`lang="en"`, "<title>Starting · doc</title>", `role="status"`, "The program is being started.", `data-events="/_plane/status"`, `<noscript><meta http-equiv="refresh"`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("%q isn't in the page", want)
		}
	}
	for _, bad := range []string{"http://", "https://", "src="} {
		if strings.Contains(r.body, bad) {
			t.Errorf("the page has %q: nothing of it may come from elsewhere", bad)
		}
	}
	if p := r.header.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
		t.Errorf("policy %q", p)
	}
	if n := count(c.controller, func(a wire.KeyAsk) bool { return true }); n != 1 {
		t.Errorf("asked %d times", n)
	}
	if p := c.get("/~/doc/x", asPage); !strings.Contains(p.body, `data-events="/~/doc/_plane/status"`) {
		t.Errorf("path form: %d", p.status)
	}
	route.Status, route.Address = plane.Ready, newServer(t, echo)
	c.push(route)
	eventually(t, "the program", func() bool { return c.getOn("doc.localhost:9090", "/x", asPage).status == 200 })
}

func TestWhatIsReadyAtAGlanceIsServedWithoutAPage(t *testing.T) {
	for try := 1; ; try++ { // on a busy machine the news itself may take longer than a glance
		c, route := booting(t)
		route.Address = newServer(t, echo)
		go func() {
			await(c.controller, func(wire.KeyAsk) bool { return true })
			route.Status = plane.Ready
			c.push(route)
		}()
		r := c.getOn("doc.localhost:9090", "/", asPage)
		if r.status == 200 && r.says("GET /") {
			return
		}
		if try == 5 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
}

func TestAStartIsNotCancelledByThePageThatIsClosed(t *testing.T) {
	c, route := booting(t)
	answer := make(chan struct{})
	c.onKey = func(a wire.KeyAsk) *wire.KeyAnswer {
		go func() {
			<-answer
			r := route
			r.Status = plane.Starting
			c.send(wire.KeyAnswer{ID: a.ID, Route: &r})
		}()
		return nil
	}
	if r := c.getOn("doc.localhost:9090", "/", asPage); r.status != 503 || !strings.Contains(r.body, "Looking for a machine") {
		t.Fatalf("%d %s", r.status, r.body)
	}
	close(answer) // nobody waits for it but the start itself
	eventually(t, "the name is known", func() bool {
		b, _ := c.proxy.table.find(ref{kind: refKey, name: "doc"}, time.Now())
		return b != nil
	})
	route.Status, route.Address = plane.Ready, newServer(t, echo)
	c.push(route)
	if r := c.getOn("doc.localhost:9090", "/", asPage); r.status != 200 {
		t.Errorf("%d", r.status)
	}
	if n := count(c.controller, func(wire.KeyAsk) bool { return true }); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestWhoShowsNoPageIsHeld(t *testing.T) {
	c, _ := booting(t, func(cfg *Config, _ *controller) { cfg.Timeouts.KeyReady = 300 * time.Millisecond })
	for _, lines := range [][]string{nil, {"Accept: */*"}, {"Accept: application/json"}, {"Accept: text/html;q=0, */*"}, {asPage, "Connection: Upgrade", "Upgrade: websocket"}} {
		began := time.Now()
		r := c.getOn("doc.localhost:9090", "/", lines...)
		if r.status != 503 || r.header.Get("Retry-After") == "" || time.Since(began) < 290*time.Millisecond {
			t.Errorf("%v: %d after %v", lines, r.status, time.Since(began))
		}
	}
	began := time.Now()
	if r := c.raw(httpHead("POST", "doc.localhost:9090", "/", asPage, "Content-Length: 0")); r.status != 503 || time.Since(began) < 290*time.Millisecond {
		t.Errorf("POST: %d after %v", r.status, time.Since(began))
	}
}

func TestAFailedStartShowsItsOutputAndIsNotRepeated(t *testing.T) {
	c, route := booting(t)
	route.Status, route.End = plane.Terminated, &plane.RouteEnd{Message: "It ended with exit code 1.", Early: true, Output: "<script>alert(1)</script>\nboom"}
	go func() {
		await(c.controller, func(wire.KeyAsk) bool { return true })
		c.push(route)
	}()
	r := c.getOn("doc.localhost:9090", "/", asPage)
	if r.status != 503 || !strings.Contains(r.body, "It ended with exit code 1.") || !strings.Contains(r.body, "&lt;script&gt;alert(1)&lt;/script&gt;\nboom") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if strings.Contains(r.body, `http-equiv="refresh"`) {
		t.Error("it would start again by itself")
	}
	if n := count(c.controller, func(wire.KeyAsk) bool { return true }); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// Its end was told before the answer came: the same.
	if r := c.getOn("doc.localhost:9090", "/"); r.status != 503 || !strings.Contains(r.body, "exit code 1") || !strings.Contains(r.body, "boom") {
		t.Errorf("no page: %d %s", r.status, r.body)
	}
}

// events reads a status stream.
func (c *cluster) follow(host, path string, lines ...string) (next func() progress, stop func()) {
	nc := c.dial()
	c.t.Cleanup(func() { nc.Close() })
	fmt.Fprint(nc, httpHead("GET", host, path+"/_plane/status", lines...))
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		c.t.Fatalf("%v %v", resp, err)
	}
	s := bufio.NewScanner(resp.Body)
	return func() (g progress) {
		c.t.Helper()
		for s.Scan() {
			if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &g); err != nil {
					c.t.Fatal(err)
				}
				return g
			}
		}
		c.t.Fatalf("the stream ended: %v", s.Err())
		return g
	}, func() { nc.Close() }
}

// A page that shows a failed start has to give way once the program is mended,
// whether its stream was open when the app changed or comes after it.
func TestPagesOfWhatIsNotLiveHearThatTheirAppChanged(t *testing.T) {
	c, route := booting(t)
	failed := route
	failed.Status, failed.End = plane.Terminated, &plane.RouteEnd{Message: "It ended with exit code 1.", Early: true}
	go func() {
		await(c.controller, func(wire.KeyAsk) bool { return true })
		c.push(failed)
	}()
	if r := c.getOn("doc.localhost:9090", "/", asPage); r.status != 503 || !strings.Contains(r.body, "exit code 1") {
		t.Fatalf("%d %s", r.status, r.body)
	}
	next, stop := c.follow("doc.localhost:9090", "")
	if g := next(); !g.Early || g.Changed {
		t.Errorf("at first: %+v", g)
	}
	c.send(wire.AppChanged{App: "other"})
	c.send(wire.AppChanged{App: "board", Default: true})
	if g := next(); !g.Early || !g.Changed {
		t.Errorf("once it changed: %+v", g)
	}
	stop()
	late, stop := c.follow("doc.localhost:9090", "")
	if g := late(); !g.Changed {
		t.Errorf("a stream that was late: %+v", g)
	}
	stop()
	again, stop := c.follow("doc.localhost:9090", "")
	if g := again(); g.Changed {
		t.Errorf("told again without another change: %+v", g)
	}
	stop()
}

func TestTheStatusFollowsStartsNothingAndIsNoUse(t *testing.T) {
	c, route := booting(t)
	c.onKey = func(a wire.KeyAsk) *wire.KeyAnswer {
		if a.NoStart {
			return &wire.KeyAnswer{Error: &wire.Error{Kind: plane.KeyUnheldNoSpawnConfig, Message: "None."}}
		}
		r := plane.Route{Backend: "b1", Generation: 7, KeyHash: route.KeyHash, Cluster: testCluster, Status: plane.Starting}
		return &wire.KeyAnswer{Route: &r}
	}
	next, stop := c.follow("doc.localhost:9090", "")
	if g := next(); g.Status != "" || g.Heading != "Asleep" {
		t.Errorf("%+v", g)
	}
	if n := count(c.controller, func(a wire.KeyAsk) bool { return !a.NoStart }); n != 0 {
		t.Error("it started something")
	}
	page := make(chan reply, 1)
	go func() { page <- c.getOn("doc.localhost:9090", "/", asPage) }()
	for g := next(); g.Status != plane.Starting; g = next() {
	}
	for _, s := range []plane.Status{plane.Waiting, plane.Ready} {
		route.Status, route.Revision = s, 0
		if s == plane.Ready {
			route.Address = newServer(t, echo)
		}
		c.push(route)
		if g := next(); g.Status != s || g.Backend != "b1" || g.Generation != 7 || g.Message == "" {
			t.Errorf("%s: %+v", s, g)
		}
	}
	<-page
	eventually(t, "no use", func() bool { return c.openUse("b1") == 0 && c.waiters("b1") == 0 })
	c.send(wire.Quiesce{ID: 1, Backend: "b1", Opened: 1 << 40})
	if q := await(c.controller, func(q wire.Quiesced) bool { return q.ID == 1 }); !q.Idle {
		t.Error("an open page keeps it awake")
	}
	route.Status, route.Revision = plane.Terminated, 0
	route.End = &plane.RouteEnd{Message: "Its app changed.", Replaced: true}
	c.push(route)
	if g := next(); g.Status != plane.Terminated || !g.Replaced {
		t.Errorf("%+v", g)
	}
	stop()
	eventually(t, "no stream", func() bool { return c.proxy.streams.Load() == 0 })
	c.proxy.bells.mu.Lock()
	defer c.proxy.bells.mu.Unlock()
	if len(c.proxy.bells.all) != 0 {
		t.Error("a bell is left")
	}
}

func TestStatusStreamsAreBoundedAndEndWithTheProxy(t *testing.T) {
	c, _ := booting(t)
	c.getOn("doc.localhost:9090", "/", asPage)
	next, _ := c.follow("doc.localhost:9090", "")
	next()
	c.proxy.streams.Add(maxStreams)
	if r := c.getOn("doc.localhost:9090", "/_plane/status"); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", r.status)
	}
	c.proxy.streams.Add(-maxStreams)
	began := time.Now()
	c.stop()
	err := <-c.ended
	c.ended <- err
	if d := time.Since(began); d > 900*time.Millisecond { // Drain is 1 s
		t.Errorf("left after %v", d)
	}
}

func TestTrap48a_CrossSiteRulesHoldOnEveryForm(t *testing.T) {
	c, route := booting(t)
	route.Status, route.Address = plane.Ready, newServer(t, echo)
	c.push(route)
	evil := []string{"Origin: http://evil.example", "Sec-Fetch-Site: cross-site"}
	image := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}
	for _, at := range [][2]string{
		{"localhost:9090", "/~/doc/"},
		{"doc.localhost:9090", "/"},
		{"localhost:9090", "/~/doc/_plane/status"},
		{"doc.localhost:9090", "/_plane/status"},
		{"localhost:9090", "/_plane/overview"},
		{"doc.localhost:9090", "/_plane/enter/x/"},
	} {
		for _, lines := range [][]string{evil, image} {
			if r := c.getOn(at[0], at[1], lines...); r.status != 403 {
				t.Errorf("%s%s %v: %d, want 403", at[0], at[1], lines, r.status)
			}
		}
	}
	for _, at := range [][2]string{
		{"localhost:9090", "/_plane/ping"},
		{"plane-check.localhost:9090", "/_plane/ping"},
		{"a.b.localhost:9090", "/_plane/ping"},
		{"localhost:9090", "/~/doc/_plane/ping"},
	} {
		want := 204
		if at[1] != "/_plane/ping" {
			want = 403
		}
		if r := c.getOn(at[0], at[1], image...); r.status != want {
			t.Errorf("%s%s: %d, want %d", at[0], at[1], r.status, want)
		}
	}
	navigation := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	if r := c.getOn("doc.localhost:9090", "/_plane/enter/x/", navigation...); r.status != 410 {
		t.Errorf("a link followed from another site: %d", r.status)
	}
	for _, path := range []string{"/_plane", "/_plane/", "/_plane/x", "/_plane/enter", "/_plane/overview", "/_plane/reload.js"} {
		if r := c.getOn("doc.localhost:9090", path); r.status != 404 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	if n := count(c.controller, func(wire.KeyAsk) bool { return true }); n != 0 {
		t.Errorf("%d keys were asked for", n)
	}
}

func reloading(_ *Config, c *controller) { c.reload = true }

func TestPagesGetTheReloadScriptAndNothingElseIsTouched(t *testing.T) {
	const text = "<!doctype html><p>hello"
	c, route := booting(t, reloading)
	route.Status, route.Address = plane.Ready, newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Coding", r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		body := text
		switch r.URL.Path {
		case "/chunked":
			_, _ = io.WriteString(w, body[:5])
			_ = http.NewResponseController(w).Flush()
			body = body[5:]
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, body)
			_ = z.Close()
			return
		case "/json":
			w.Header().Set("Content-Type", "application/json")
		case "/missing":
			w.WriteHeader(404)
		case "/file":
			w.Header().Set("Content-Disposition", "attachment")
		case "/kept":
			w.Header().Set("Cache-Control", "public, no-transform")
		}
		_, _ = io.WriteString(w, body)
	}))
	c.push(route)
	document := []string{"Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate", "Accept-Encoding: gzip, br", asPage}
	script := func(prefix string) string {
		return text + `<script src="` + prefix + `/_plane/reload.js" async></script>`
	}
	for _, test := range []struct{ host, path, want string }{
		{"doc.localhost:9090", "/", script("")},
		{"doc.localhost:9090", "/chunked", script("")},
		{"localhost:9090", "/~/doc/", script("/~/doc")},
		{"doc.localhost:9090", "/json", text},
		{"doc.localhost:9090", "/missing", text},
		{"doc.localhost:9090", "/file", text},
		{"doc.localhost:9090", "/kept", text},
	} {
		r := c.getOn(test.host, test.path, document...)
		if r.body != test.want || r.header.Get("X-Coding") != "identity" {
			t.Errorf("%s%s: %q, coding %q", test.host, test.path, r.body, r.header.Get("X-Coding"))
		}
		if n := r.header.Get("Content-Length"); n != "" && n != strconv.Itoa(len(test.want)) {
			t.Errorf("%s: content-length %s of %d", test.path, n, len(test.want))
		}
	}
	if r := c.getOn("doc.localhost:9090", "/gzip", document...); strings.Contains(r.body, "script") || r.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("a coded answer was touched: %q", r.body)
	}
	for _, lines := range [][]string{nil, {"Sec-Fetch-Dest: empty"}, {"Sec-Fetch-Dest: iframe"}} {
		if r := c.getOn("doc.localhost:9090", "/", append(lines, "Accept-Encoding: gzip, br")...); r.body != text || r.header.Get("X-Coding") != "gzip, br" {
			t.Errorf("%v: %q, coding %q", lines, r.body, r.header.Get("X-Coding"))
		}
	}
	if r := c.raw(httpHead("HEAD", "doc.localhost:9090", "/", document...)); r.header.Get("Content-Length") != strconv.Itoa(len(text)) {
		t.Errorf("HEAD: %v", r.header)
	}
	if r := c.get("/"+c.token("b1")+"/", document...); r.body != text {
		t.Errorf("a token's page: %q", r.body)
	}
	if r := c.get("/~/doc/_plane/reload.js"); r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/javascript") {
		t.Errorf("the script: %d %v", r.status, r.header)
	}
}

func TestTheStartPageIsForBrowsersOfPlaneDev(t *testing.T) {
	c := start(t, inDev)
	c.onOverview = func(wire.OverviewAsk) wire.Overview {
		return wire.Overview{
			Apps: []wire.OverviewApp{{Name: "board", Default: true, Runs: "./board"}, {Name: "shell", Runs: "sh"}},
			Backends: []wire.OverviewBackend{
				{Key: plane.Key{Namespace: "board", Name: "doc"}, App: "board", Backend: "b1", Status: plane.Ready},
				{Key: plane.Key{Namespace: "shell", Name: "Any thing"}, App: "shell", Backend: "b2", Status: plane.Ready},
				{Key: plane.Key{Namespace: "shell", Name: "doc"}, App: "shell", Backend: "b3", Status: plane.Ready},
				{Key: plane.Key{Name: "made"}, App: "board", Backend: "b4", Status: plane.Ready},
			}, Total: 4,
		}
	}
	r := c.get("/", asPage)
	if r.status != 200 || !strings.Contains(r.body, "Open a key") || !strings.Contains(r.header.Get("Content-Security-Policy"), "http://plane-check.localhost:9090") {
		t.Errorf("%d %v", r.status, r.header)
	}
	for _, lines := range [][]string{nil, {"Accept: */*"}, {"Accept: application/json"}} {
		if r := c.get("/", lines...); r.status != 400 || strings.Contains(r.body, "<") {
			t.Errorf("%v: %d %q", lines, r.status, r.body)
		}
	}
	var got served
	if r = c.get("/_plane/overview", "Sec-Fetch-Site: same-origin"); r.status != 200 || json.Unmarshal([]byte(r.body), &got) != nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for i, want := range [][2]string{{"doc.localhost:9090", "/~/doc/"}, {"", "/~shell/Any%20thing/"}, {"doc--shell.localhost:9090", "/~shell/doc/"}, {"", ""}} {
		if b := got.Backends[i]; b.Host != want[0] || b.Path != want[1] {
			t.Errorf("%s: %q %q", b.Key, b.Host, b.Path)
		}
	}
	for _, site := range []string{"cross-site", "same-site"} {
		if r := c.get("/_plane/overview", "Sec-Fetch-Site: "+site); r.status != 403 {
			t.Errorf("%s: %d", site, r.status)
		}
	}
	if r := c.getOn("doc.localhost:9090", "/_plane/overview"); r.status != 404 {
		t.Errorf("on a key's host: %d", r.status)
	}
	if r := c.getOn("10.1.2.3", "/", asPage); r.status != 400 || strings.Contains(r.body, "Open a key") {
		t.Errorf("on a foreign host: %d", r.status)
	}
	for query, want := range map[string]string{
		"key=a+b%2Fc":                  "/~/a%20b%2Fc/",
		"key=doc&form=host":            "//doc.localhost:9090/",
		"key=doc&form=host&app=shell":  "//doc--shell.localhost:9090/",
		"key=D%C3%B6c&form=host&app=x": "/~x/D%C3%B6c/",
		"key=":                         "",
		"key=%00":                      "",
		"key=a&app=../x":               "",
	} {
		if r := c.get("/_plane/open?" + query); r.header.Get("Location") != want || (r.status == 303) != (want != "") {
			t.Errorf("%s: %d %q", query, r.status, r.header.Get("Location"))
		}
	}
	prod := start(t)
	for _, path := range []string{"/", "/_plane/overview", "/_plane/open?key=x"} {
		if r := prod.get(path, asPage); r.status == 200 || r.status == 303 {
			t.Errorf("not plane dev, %s: %d", path, r.status)
		}
	}
	told := start(t, inDev, func(cfg *Config, _ *controller) { cfg.RootRedirect = "https://example.com/" })
	if r := told.get("/", asPage); r.status != 301 {
		t.Errorf("with a redirection: %d", r.status)
	}
}

func TestBrowsersSeeASentenceAndScriptsSeeNothing(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, echo)
	for path, status := range map[string]int{"/nonsense/": 410, "/": 400, "/_plane/x": 404, "/" + c.token("b1", func(c *plane.Claims) { c.Port = "x" }) + "/": 404} {
		r := c.get(path, asPage)
		if r.status != status || !strings.Contains(r.body, `<p class="says" id="says">`) || r.header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %q", path, r.status, r.body)
		}
		if r := c.get(path, "Sec-Fetch-Dest: document"); r.body == "" {
			t.Errorf("%s: nothing for a window", path)
		}
		for _, lines := range [][]string{nil, {"Accept: */*"}, {"Accept: application/json, text/html"}, {asPage, "Sec-Fetch-Dest: empty"}} {
			if r := c.get(path, lines...); r.status != status || strings.Contains(r.body, "<") {
				t.Errorf("%s %v: %d %q", path, lines, r.status, r.body)
			}
		}
	}
	if r := c.getOn("example.com", "/"+c.token("b1")+"/", asPage); r.status != 403 || !strings.Contains(r.body, "Not from here") {
		t.Errorf("403: %d", r.status)
	}
}

func TestLogLinesNameTheRequestOfAnAsk(t *testing.T) {
	var mu sync.Mutex
	var lines strings.Builder
	c, route := booting(t, func(cfg *Config, _ *controller) {
		cfg.Log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &lines}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	route.Status, route.Address = plane.Ready, newServer(t, echo)
	c.push(route)
	c.getOn("doc.localhost:9090", "/")
	asked := await(c.controller, func(wire.KeyAsk) bool { return true })
	if len(asked.RequestID) != 14 {
		t.Errorf("request id %q", asked.RequestID)
	}
	want := "request=" + asked.RequestID + " key=doc backend=b1 generation=7"
	eventually(t, want, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(lines.String(), want)
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestWhoAsksForTheHeadOfAStatusGetsNoStream(t *testing.T) {
	c, _ := private(t, echo)
	cookie, _ := c.enter(docHost, "", c.token("b1"))
	nc := c.dial()
	defer nc.Close()
	br := bufio.NewReader(nc)
	r := c.on(nc, br, httpHead("HEAD", docHost, "/_plane/status", "Cookie: "+cookie))
	if r.status != 200 || r.header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%d %v", r.status, r.header)
	}
	if r := c.on(nc, br, httpHead("GET", docHost, "/x", "Cookie: "+cookie)); r.status != 200 || !r.says("GET /x") {
		t.Errorf("the next request on that connection: %d %s", r.status, r.body)
	}
	if r := c.raw(httpHead("HEAD", docHost, "/_plane/status")); r.status != 401 {
		t.Errorf("without a cookie: %d", r.status)
	}
}

func TestAStatusTellsNothingToWhoWasRevoked(t *testing.T) {
	c, route := private(t, echo)
	cookie, _ := c.enter(docHost, "", c.token("b1", forUser("eve")))
	nc := c.dial()
	defer nc.Close()
	if _, err := io.WriteString(nc, httpHead("GET", docHost, "/_plane/status", "Cookie: "+cookie)); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(nc)
	until := func(want string) {
		t.Helper()
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				t.Fatalf("no %q: %v", want, err)
			}
			if strings.HasPrefix(line, "data: ") {
				if !strings.Contains(line, want) {
					t.Fatalf("no %q in %s", want, line)
				}
				return
			}
		}
	}
	until(`"status":"ready"`)
	route.Revocation, route.Revoked, route.Revision = 1, map[string]int64{"eve": 1}, 0
	c.push(route)
	until(`"status":""`)
}
