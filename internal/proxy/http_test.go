package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"plane"
	"plane/internal/token"
	"plane/internal/wire"
)

func withHeader(name, value string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(name, value) })
}

// spoofs are spellings of names that only Plane may use.
var spoofs = []string{
	"x-verified-username: eve", "X-VERIFIED-USERNAME: eve", "X_Verified_Username: eve", "x-verified_username: eve",
	"x-verified-anything: eve", "X-Forwarded-For: 1.2.3.4", "x_forwarded_for: 1.2.3.4", "x-forwarded_proto: gopher",
	"X-Verified-Secret: eve", "x-verified-backend: eve",
	"Connection: x-verified-username, x-verified-backend, x-forwarded-for, close",
}

func checkIdentity(t *testing.T, what, seen, user, data, secret string) {
	t.Helper()
	for _, bad := range []string{"eve", "1.2.3.4", "gopher"} {
		if strings.Contains(seen, bad) {
			t.Errorf("%s: %q came through:\n%s", what, bad, seen)
		}
	}
	want := []string{"X-Verified-Backend: b1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Verified-Secret: " + secret, "X-Verified-Path: /"}
	if user != "" {
		want = append(want, "X-Verified-Username: "+user, "X-Verified-User-Data: "+data)
	}
	for _, w := range want {
		if strings.Count(strings.ToLower(seen), strings.ToLower(w)) != 1 {
			t.Errorf("%s: %q isn't there once:\n%s", what, w, seen)
		}
	}
	if user == "" && (strings.Contains(seen, "X-Verified-Username") || strings.Contains(seen, "X-Verified-User-Data")) {
		t.Errorf("%s: a user out of nothing:\n%s", what, seen)
	}
}

func TestTrap29_IdentityOnEveryWay(t *testing.T) {
	c := start(t, inDev)
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
	route := plane.Route{
		Backend: "b1", Generation: 1, KeyHash: "key-of-b", Cluster: testCluster, Status: plane.Ready,
		Address: c.backend("a1", 1, h).Address, StaticHash: token.StaticHash(c.ring.Static("b1")),
	}
	first := route
	c.onKey = func(wire.KeyAsk) *wire.KeyAnswer { return &wire.KeyAnswer{Route: &first} }
	tok := c.token("b1", forUser("alice"), func(c *plane.Claims) { c.Auth = []byte(`{"role":"editor"}`) })
	secret, data := c.ring.Secret(tok), `{"role":"editor"}`

	waiting := route
	waiting.Status, waiting.Address = plane.Waiting, ""
	c.push(waiting)
	var pushed sync.WaitGroup
	pushed.Go(func() {
		for range 1000 {
			if c.waiters("b1") > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		c.push(route)
	})
	checkIdentity(t, "waiting", c.get("/"+tok+"/", spoofs...).body, "alice", data, secret)
	pushed.Wait()
	checkIdentity(t, "first", c.get("/"+tok+"/", spoofs...).body, "alice", data, secret)

	nc := c.dial()
	br := bufio.NewReader(nc)
	for range 3 {
		checkIdentity(t, "cached", c.on(nc, br, httpHead("GET", string(testCluster), "/"+tok+"/", spoofs[:10]...)).body, "alice", data, secret)
	}
	nc.Close()

	checkIdentity(t, "static", c.get("/"+c.ring.Static("b1")+"/", spoofs...).body, "", "", "")
	checkIdentity(t, "key host", c.getOn("doc.localhost:9090", "/", spoofs...).body, "", "", "")
	checkIdentity(t, "key path", c.get("/~/doc/", spoofs...).body, "", "", "")
	checkIdentity(t, "chunked trailer", c.raw("POST /"+tok+"/ HTTP/1.1\r\nHost: localhost:9090\r\nTrailer: x-verified-username\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nx_verified-username: eve\r\nHost: eve\r\nX-Sum: 1\r\n\r\n").body, "alice", data, secret)

	header := http.Header{}
	for _, s := range spoofs[:10] {
		name, value, _ := strings.Cut(s, ": ")
		header[name] = append(header[name], value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+c.addr+"/"+tok+"/ws", &websocket.DialOptions{HTTPHeader: header, Host: string(testCluster)})
	if err != nil {
		t.Fatal(err)
	}
	_, seen, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = ws.CloseNow()
	checkIdentity(t, "upgrade", string(seen), "alice", data, secret)

	h2 := c.http2()
	defer h2.CloseIdleConnections()
	req, _ := http.NewRequest("POST", "http://"+c.addr+"/"+tok+"/", strings.NewReader("body"))
	req.Host, req.Header = string(testCluster), header
	resp, err := h2.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.ProtoMajor != 2 || !strings.HasSuffix(string(body), "body") {
		t.Errorf("HTTP/2: %s %q", resp.Proto, body)
	}
	checkIdentity(t, "HTTP/2", string(body), "alice", data, secret)
}

func (c *cluster) http2() *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: p}}
}

func TestValuesThatAFieldCannotCarryAreLeftOut(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, echo)
	for _, user := range []string{"ålice", " alice", "alice ", "a\nb", "a\tb"} {
		if r := c.get("/" + c.token("b1", forUser(user)) + "/"); r.status != 200 || strings.Contains(r.body, "X-Verified-Username") {
			t.Errorf("%q: %s", user, r.body)
		}
	}
	if r := c.get("/" + c.token("b1", forUser("")) + "/"); !r.says("X-Verified-Username: ") {
		t.Errorf("empty user: %s", r.body)
	}
}

func TestTrap38_WhatIsNeverForwarded(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, echo)
	p := "/" + c.token("b1") + "/"
	host := "Host: localhost:9090\r\n"
	for what, test := range map[string]struct {
		request string
		status  int
	}{
		"both lengths":      {"POST " + p + " HTTP/1.1\r\n" + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"two lengths":       {"POST " + p + " HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400},
		"list of lengths":   {"POST " + p + " HTTP/1.1\r\n" + host + "Content-Length: 5, 5\r\n\r\nabcde", 400},
		"signed length":     {"POST " + p + " HTTP/1.1\r\n" + host + "Content-Length: +5\r\n\r\nabcde", 400},
		"coding":            {"POST " + p + " HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
		"coding twice":      {"POST " + p + " HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		"coding in 1.0":     {"POST " + p + " HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"blank before ':'":  {"POST " + p + " HTTP/1.1\r\n" + host + "Transfer-Encoding : chunked\r\n\r\n", 400},
		"folded line":       {"GET " + p + " HTTP/1.1\r\n" + host + "X-A: b\r\n c\r\n\r\n", 400},
		"bare LF":           {"GET " + p + " HTTP/1.1\n" + host + "\n", 400},
		"bare CR":           {"GET " + p + " HTTP/1.1\r\n" + host + "X-A: b\rX-C: d\r\n\r\n", 400},
		"NUL":               {"GET " + p + " HTTP/1.1\r\n" + host + "X-A: b\x00\r\n\r\n", 400},
		"two hosts":         {"GET " + p + " HTTP/1.1\r\n" + host + host + "\r\n", 400},
		"no host":           {"GET " + p + " HTTP/1.1\r\n\r\n", 400},
		"other authority":   {"GET http://evil" + p + " HTTP/1.1\r\n" + host + "\r\n", 400},
		"CONNECT":           {"CONNECT localhost:9090 HTTP/1.1\r\n" + host + "\r\n", 405},
		"TRACE":             {"TRACE " + p + " HTTP/1.1\r\n" + host + "\r\n", 405},
		"OPTIONS *":         {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 400},
		"version":           {"GET " + p + " HTTP/2.0\r\n" + host + "\r\n", 505},
		"blank in target":   {"GET " + p + "a b HTTP/1.1\r\n" + host + "\r\n", 400},
		"fragment":          {"GET " + p + "#x HTTP/1.1\r\n" + host + "\r\n", 400},
		"upgrade with body": {"POST " + p + " HTTP/1.1\r\n" + host + "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc", 400},
		"expectation":       {"POST " + p + " HTTP/1.1\r\n" + host + "Expect: wonders\r\n\r\n", 417},
		"long head":         {"GET " + p + " HTTP/1.1\r\n" + host + "X-A: " + strings.Repeat("a", maxHead) + "\r\n\r\n", 431},
		"many fields":       {"GET " + p + " HTTP/1.1\r\n" + host + strings.Repeat("X-A: a\r\n", maxFields) + "\r\n", 431},
		"absolute target":   {"GET http://localhost:9090" + p + " HTTP/1.1\r\n" + host + "\r\n", 200},
		"HTTP/1.0":          {"GET " + p + " HTTP/1.0\r\n" + host + "\r\n", 200},
	} {
		if r := c.raw(test.request); r.status != test.status {
			t.Errorf("%s: %d, want %d", what, r.status, test.status)
		}
	}
	// What curl --http2 sends is served, but not as an invitation.
	r := c.get(p, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
	if r.status != 200 || strings.Contains(r.body, "h2c") || strings.Contains(r.body, "Http2-Settings") || strings.Contains(r.body, "Connection") {
		t.Errorf("h2c: %d\n%s", r.status, r.body)
	}
}

func TestTrap30_FirefoxUpgradesAndRefusalsHaveBodies(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" {
			w.WriteHeader(403)
			fmt.Fprint(w, "not that protocol")
			return
		}
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Mine: 1\r\n\r\nhello ")
		_ = rw.Flush()
		_, _ = io.Copy(nc, rw)
		_, _ = io.WriteString(nc, "bye")
	}))
	p := "/" + c.token("b1") + "/"
	r := c.get(p, "Connection: keep-alive, Upgrade", "Upgrade: other")
	if r.status != 403 || r.body != "not that protocol" {
		t.Errorf("refused: %d %q", r.status, r.body)
	}

	nc := c.dial().(*net.TCPConn)
	defer nc.Close()
	// The client need not wait for the 101 before it goes on.
	fmt.Fprint(nc, httpHead("GET", string(testCluster), p, "Connection: keep-alive, Upgrade", "Upgrade: echo")+"early ")
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" || resp.Header.Get("Connection") != "Upgrade" || resp.Header.Get("X-Plane-Backend-Id") != "b1" {
		t.Fatalf("upgrade: %v %v", resp, err)
	}
	eventually(t, "upgraded count", func() bool {
		return count(c.controller, func(a wire.Activity) bool { return a.Uses[0].Upgraded == 1 }) > 0
	})
	fmt.Fprint(nc, "late")
	if err := nc.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(br)
	if err != nil || string(all) != "hello early latebye" {
		t.Errorf("tunnel: %q %v", all, err)
	}
}

func TestTrap39_AFailedSideEndsTheOther(t *testing.T) {
	c := start(t)
	conns := make(chan *net.TCPConn, 1)
	c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		nc, rw, _ := http.NewResponseController(w).Hijack()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = rw.Flush()
		conns <- nc.(*net.TCPConn)
	}))
	nc := c.dial()
	defer nc.Close()
	fmt.Fprint(nc, httpHead("GET", string(testCluster), "/"+c.token("b1")+"/", "Connection: Upgrade", "Upgrade: echo"))
	br := bufio.NewReader(nc)
	if _, err := http.ReadResponse(br, nil); err != nil {
		t.Fatal(err)
	}
	server := <-conns
	_ = server.SetLinger(0) // a reset
	_ = server.Close()
	if b, err := io.ReadAll(br); len(b) > 0 {
		t.Errorf("%q %v", b, err)
	}
	eventually(t, "no open use", func() bool { return c.openUse("b1") == 0 })
}

func (c *cluster) openUse(id plane.BackendID) int {
	c.proxy.table.mu.RLock()
	b := c.proxy.table.backends[id]
	c.proxy.table.mu.RUnlock()
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.plain + b.upgraded
}

func TestStreamsPassAtOnceBothWays(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		_ = rc.Flush()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			fmt.Fprint(w, "got "+line)
			_ = rc.Flush()
		}
		w.Header().Set("X-Sum", r.Trailer.Get("X-In"))
	}))
	for _, h2 := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{}}
		if h2 {
			client = c.http2()
		}
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", "http://"+c.addr+"/"+c.token("b1")+"/", pr)
		req.Host = string(testCluster)
		req.Trailer = http.Header{"X-In": {"7"}}
		go func() { fmt.Fprint(pw, "one\n") }()
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(resp.Body)
		for _, word := range []string{"one", "two", "three"} {
			if word != "one" {
				fmt.Fprintln(pw, word)
			}
			if line, err := br.ReadString('\n'); line != "got "+word+"\n" {
				t.Fatalf("%q %v", line, err)
			}
		}
		pw.Close()
		if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
			t.Errorf("%q %v", rest, err)
		}
		if resp.Trailer.Get("X-Sum") != "7" {
			t.Errorf("HTTP/2 %v: trailers %v", h2, resp.Trailer)
		}
		resp.Body.Close()
		client.CloseIdleConnections()
	}
}

func TestBodiesOfAllFramings(t *testing.T) {
	c := start(t)
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Read", fmt.Sprint(n))
		switch r.URL.Path {
		case "/length":
			w.Header().Set("Content-Length", fmt.Sprint(len(big)))
			_, _ = io.WriteString(w, big)
		case "/chunks":
			_, _ = io.WriteString(w, big)
		case "/close":
			nc, rw, _ := http.NewResponseController(w).Hijack()
			fmt.Fprintf(rw, "HTTP/1.0 200 OK\r\nX-Read: %d\r\n\r\n%s", n, big)
			_ = rw.Flush()
			_ = nc.Close()
		case "/none":
			w.WriteHeader(204)
		}
	}))
	tok := c.token("b1")
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	h2 := c.http2()
	defer h2.CloseIdleConnections()
	for _, path := range []string{"/length", "/chunks", "/close", "/none"} {
		for what, body := range map[string]func() io.Reader{
			"none":   func() io.Reader { return nil },
			"small":  func() io.Reader { return strings.NewReader("abc") },
			"length": func() io.Reader { return strings.NewReader(big) },
			"chunks": func() io.Reader { return io.MultiReader(strings.NewReader(big)) },
		} {
			for _, client := range []*http.Client{client, h2} {
				req, _ := http.NewRequest("POST", "http://"+c.addr+"/"+tok+path, body())
				req.Host = string(testCluster)
				resp, err := client.Do(req)
				if err != nil {
					t.Fatalf("%s %s: %v", path, what, err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				want := big
				if path == "/none" {
					want = ""
				}
				if err != nil || string(got) != want {
					t.Errorf("%s %s %s: %d bytes, %v", path, what, resp.Proto, len(got), err)
				}
				if read := map[string]string{"none": "0", "small": "3", "length": "1048576", "chunks": "1048576"}[what]; resp.Header.Get("X-Read") != read {
					t.Errorf("%s %s %s: backend read %s", path, what, resp.Proto, resp.Header.Get("X-Read"))
				}
			}
		}
		r := c.raw(httpHead("HEAD", string(testCluster), "/"+tok+path))
		if r.body != "" || path == "/length" && r.header.Get("Content-Length") != "1048576" {
			t.Errorf("HEAD %s: %v", path, r.header)
		}
		r = c.raw("GET /" + tok + path + " HTTP/1.0\r\nHost: localhost:9090\r\n\r\n")
		if path != "/none" && r.body != big {
			t.Errorf("HTTP/1.0 %s: %d bytes", path, len(r.body))
		}
	}
	eventually(t, "none open", func() bool { return c.openUse("b1") == 0 })
}

func TestATruncatedResponseIsNotMadeWhole(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		fmt.Fprint(w, "part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	for _, client := range []*http.Client{{Transport: &http.Transport{}}, c.http2()} {
		req, _ := http.NewRequest("GET", "http://"+c.addr+"/"+c.token("b1")+"/", nil)
		req.Host = string(testCluster)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: %q without an error", resp.Proto, b)
		}
		resp.Body.Close()
		client.CloseIdleConnections()
	}
}

func TestExpectAndInformationalResponses(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(413)
			return
		}
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(103)
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	p := "/" + c.token("b1")
	nc := c.dial()
	defer nc.Close()
	fmt.Fprint(nc, httpHead("POST", string(testCluster), p+"/yes", "Expect: 100-continue", "Content-Length: 4"))
	br := bufio.NewReader(nc)
	var statuses []int
	for {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		statuses = append(statuses, resp.StatusCode)
		if resp.StatusCode == 100 {
			fmt.Fprint(nc, "data")
		}
		if resp.StatusCode == 103 && resp.Header.Get("Link") == "" {
			t.Error("103 without its field")
		}
		if resp.StatusCode >= 200 {
			b, _ := io.ReadAll(resp.Body)
			if string(b) != "data" {
				t.Errorf("echo %q", b)
			}
			break
		}
	}
	if fmt.Sprint(statuses) != "[103 100 200]" {
		t.Errorf("statuses %v", statuses)
	}
	if r := c.on(nc, br, httpHead("POST", string(testCluster), p+"/no", "Expect: 100-continue", "Content-Length: 4")); r.status != 413 {
		t.Errorf("refused upload: %d", r.status)
	}
}

func TestAnEarlyRefusalOfAnUploadArrives(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(413)
		fmt.Fprint(w, "too much")
	}))
	big := strings.Repeat("x", 4<<20)
	nc := c.dial()
	defer nc.Close()
	go func() {
		_, _ = io.WriteString(nc, httpHead("POST", string(testCluster), "/"+c.token("b1")+"/", fmt.Sprintf("Content-Length: %d", len(big)))+big)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(b) != "too much" {
		t.Errorf("%d %q %v", resp.StatusCode, b, err)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	c := start(t)
	c.backend("b1", 1, echo)
	p := "/" + c.token("b1") + "/"
	nc := c.dial()
	defer nc.Close()
	var all strings.Builder
	for i := range 20 {
		all.WriteString(httpHead("POST", string(testCluster), p+fmt.Sprint(i), "Content-Length: 2") + "ab")
	}
	go func() { _, _ = io.WriteString(nc, all.String()) }()
	br := bufio.NewReader(nc)
	for i := range 20 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		if !strings.HasPrefix(string(b), fmt.Sprintf("POST /%d\n", i)) || !strings.HasSuffix(string(b), "ab") {
			t.Fatalf("%d: %q", i, b)
		}
	}
}

func TestAClientThatLeavesIsNoticed(t *testing.T) {
	c := start(t)
	came, left := make(chan struct{}, 8), make(chan struct{}, 8)
	c.backend("b1", 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.Copy(io.Discard, r.Body)
		came <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	}))
	p := "/" + c.token("b1")
	for _, r := range []string{
		httpHead("GET", string(testCluster), p+"/stream"),
		httpHead("GET", string(testCluster), p+"/silent"),
		httpHead("POST", string(testCluster), p+"/silent", "Content-Length: 1") + "x",
	} {
		nc := c.dial()
		fmt.Fprint(nc, r)
		<-came
		eventually(t, "one open", func() bool { return c.openUse("b1") == 1 })
		nc.Close()
		select {
		case <-left:
		case <-time.After(5 * time.Second):
			t.Errorf("backend never heard that the client left: %.40q", r)
		}
		eventually(t, "no use", func() bool { return c.openUse("b1") == 0 })
	}
	h2 := c.http2()
	defer h2.CloseIdleConnections()
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+c.addr+p+"/stream", nil)
	req.Host = string(testCluster)
	resp, err := h2.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.Body.Close()
	<-left
	eventually(t, "no use", func() bool { return c.openUse("b1") == 0 })
}
