package drone

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/gate"
	"plane/internal/runtime"
	"plane/internal/runtime/fake"
	"plane/internal/wire"
)

// backendClient talks to the socket as the backend would.
func backendClient(t testing.TB, path string) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func ask(t testing.TB, hc *http.Client, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://backend"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

func (c *controller) askIdle(t testing.TB, number int64, id plane.BackendID) (a wire.IdleAnswer) {
	t.Helper()
	c.send(wire.IdleAsk{ID: number, Backend: id})
	eventually(t, "the question is answered", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		var ok bool
		a, ok = c.idle[number]
		return ok
	})
	return a
}

func TestHoldsKeepABackendAwake(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	hc := backendClient(t, d.cfg.Home.BackendSocket("one"))
	if status, body := ask(t, hc, "PUT", "/v1/holds/build", `{"seconds":60,"reason":"compiling"}`); status != 204 {
		t.Fatal(status, body)
	}
	if a := c.askIdle(t, 1, "one"); a.Yes || a.Why != "hold build: compiling" {
		t.Errorf("answered %+v", a)
	}
	// It outlives the agent.
	d.stop()
	d.begin()
	c.awaitLease(d)
	if a := c.askIdle(t, 2, "one"); a.Yes {
		t.Errorf("after a restart: %+v", a)
	}
	hc = backendClient(t, d.cfg.Home.BackendSocket("one"))
	if _, body := ask(t, hc, "GET", "/v1/self", ""); !strings.Contains(body, `"name":"build"`) || !strings.Contains(body, `"backend_id":"one"`) {
		t.Errorf("self is %s", body)
	}
	// It ends by itself.
	d.clock.jump(61 * time.Second)
	c.locked(func() { c.mute = false })
	if status, _ := ask(t, hc, "DELETE", "/v1/holds/build", ""); status != 204 {
		t.Error(status)
	}
}

func TestHoldEndsByItself(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	hc := backendClient(t, d.cfg.Home.BackendSocket("one"))
	ask(t, hc, "PUT", "/v1/holds/x", `{"seconds":5}`)
	if a := c.askIdle(t, 1, "one"); a.Yes {
		t.Errorf("answered %+v", a)
	}
	d.clock.jump(6 * time.Second)
	if a := c.askIdle(t, 2, "one"); !a.Yes {
		t.Errorf("answered %+v", a)
	}
	if end := c.await("one", plane.Terminated); end.Reason != plane.Swept || end.Termination != plane.Soft {
		t.Errorf("ended as %+v", end)
	}
}

// After yes nothing can keep it any more.
func TestHoldAfterYesIsRefused(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(runtime.Unit) fake.Program { return fake.Program{IgnoreTerm: true} }
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	if a := c.askIdle(t, 1, "one"); !a.Yes {
		t.Fatalf("answered %+v", a)
	}
	hc := backendClient(t, d.cfg.Home.BackendSocket("one"))
	if status, body := ask(t, hc, "PUT", "/v1/holds/x", `{"seconds":5}`); status != 409 {
		t.Errorf("hold: %d %s", status, body)
	}
	if a := c.askIdle(t, 2, "one"); !a.Yes {
		t.Errorf("asked again: %+v", a)
	}
	if a := c.askIdle(t, 3, "nobody"); a.Yes {
		t.Errorf("of an unknown one: %+v", a)
	}
}

func TestTrap12_WhatIsNotReadyIsNotIdle(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(runtime.Unit) fake.Program { return fake.Program{Mute: true} }
	c.spawn("one", "k")
	c.await("one", plane.Waiting)
	if a := c.askIdle(t, 1, "one"); a.Yes {
		t.Errorf("answered %+v", a)
	}
}

func TestSocketRefusesNonsense(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	hc := backendClient(t, d.cfg.Home.BackendSocket("one"))
	for body, want := range map[string]int{
		``: 400, `{"seconds":0}`: 422, `{"seconds":86401}`: 422, `{"secnods":5}`: 400, `[]`: 400,
		`{"seconds":5,"reason":"` + strings.Repeat("x", 201) + `"}`: 422,
	} {
		if status, answer := ask(t, hc, "PUT", "/v1/holds/x", body); status != want || !strings.Contains(answer, `"message"`) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if status, _ := ask(t, hc, "DELETE", "/v1/holds/never", ""); status != 204 {
		t.Errorf("delete: %d", status)
	}
}

func TestBackendHearsThatItMustStop(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(runtime.Unit) fake.Program { return fake.Program{IgnoreTerm: true} }
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	hc := backendClient(t, d.cfg.Home.BackendSocket("one"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://backend/v1/events", nil)
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	in := bufio.NewScanner(resp.Body)
	next := func() (got []string) {
		for len(got) < 2 && in.Scan() {
			if line := in.Text(); strings.HasPrefix(line, "event: ") || strings.HasPrefix(line, "data: ") {
				got = append(got, line)
			}
		}
		return got
	}
	c.send(wire.Drain{On: true})
	if got := next(); len(got) < 2 || got[0] != "event: drain" || got[1] != `data: {"deadline_ms":0}` {
		t.Fatalf("heard %q", got)
	}
	c.terminate("one", plane.Soft)
	got := next()
	if len(got) < 2 || got[0] != "event: stop" || !strings.Contains(got[1], `"reason":"external"`) || !strings.Contains(got[1], `"deadline_ms":`) {
		t.Fatalf("heard %q", got)
	}
	c.terminate("one", plane.Hard)
	for in.Scan() { // the stream ends with the backend
	}
	c.await("one", plane.Terminated)
	if _, err := net.Dial("unix", d.cfg.Home.BackendSocket("one")); err == nil {
		t.Error("the socket outlives its backend")
	}
}

// A port is used again only when nobody routes to it any more, and the one
// longest unused first.
func TestTrap11_PortsRestUntilTheEndIsAcknowledged(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	d.cfg.Ports.Last = d.cfg.Ports.First + 1
	d.begin()
	c.awaitLease(d)
	c.locked(func() { c.noAck = true })
	for _, id := range []plane.BackendID{"a", "b"} {
		c.spawn(id, string(id))
		c.await(id, plane.Ready)
		c.terminate(id, plane.Hard)
		c.await(id, plane.Terminated)
	}
	c.spawn("c", "c")
	if end := c.await("c", plane.Terminated); !strings.Contains(end.Exit.Message, "--ports") {
		t.Fatalf("both ports rest, but c ended as %+v", end)
	}
	// Also over a restart of the agent.
	d.stop()
	d.begin()
	c.awaitLease(d)
	c.spawn("d", "d")
	if end := c.await("d", plane.Terminated); !strings.HasPrefix(end.Exit.Message, errNoPort.Error()) {
		t.Fatalf("after a restart: %+v", end)
	}
	c.locked(func() { c.noAck = false })
	c.drop()
	eventually(t, "ports come back", func() bool {
		p := d.agent.crew.Load().ports
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.free) == 2
	})
	c.awaitLease(d)
	c.spawn("e", "e")
	c.await("e", plane.Ready)
}

func TestPortsAreTakenOldestFirst(t *testing.T) {
	first := testPorts()
	p := newPorts(PortRange{first, first + 9}, 3)
	var taken []int
	for range 3 {
		port, err := p.take(1)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, port...)
	}
	p.release(taken[1])
	p.release(taken[0])
	if n := len(p.free); p.free[n-2] != taken[1] || p.free[n-1] != taken[0] || p.free[0] == taken[0] {
		t.Errorf("free: %v", p.free)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first)))
	if err != nil {
		t.Skip("somebody took the port")
	}
	defer func() { _ = l.Close() }()
	p.free = []int{first, first + 1}
	if _, err := p.take(2); err == nil || len(p.free) != 2 {
		t.Errorf("two were taken, %v; free: %v", err, p.free)
	}
	if port, err := p.take(1); err != nil || port[0] != first+1 {
		t.Errorf("took %d, %v: somebody listens on %d", port, err, first)
	}
}

func TestLogsFollow(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	d.runtime.Write("one", "a\nb\nc\n")
	c.send(wire.LogsAsk{ID: 1, Backend: "one", Tail: 2})
	c.send(wire.LogsAsk{ID: 2, Backend: "one", Follow: true})
	c.send(wire.LogsAsk{ID: 3, Backend: "nobody"})
	c.send(wire.LogsAsk{ID: 4, Backend: "one", Follow: true})
	part := func(id int64) (text string, end *wire.LogsPart) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if l := c.logs[id]; l != nil {
			return l.text, l.end
		}
		return "", nil
	}
	eventually(t, "the tail is sent", func() bool { text, end := part(1); return end != nil && text == "b\nc\n" })
	eventually(t, "nobody has none", func() bool { _, end := part(3); return end != nil && end.Error != "" })
	eventually(t, "followers have the start", func() bool {
		a, _ := part(2)
		b, _ := part(4)
		return a == "a\nb\nc\n" && b == a
	})
	c.send(wire.LogsStop{ID: 4})
	d.runtime.Write("one", strings.Repeat("x", 1<<20))
	c.terminate("one", plane.Hard)
	eventually(t, "all is sent", func() bool { text, end := part(2); return end != nil && len(text) == 6+1<<20 })
	if text, _ := part(4); len(text) > 1<<20 {
		t.Error("a stopped stream went on")
	}
}

// Why a backend ended can be read for a while, not for ever.
func TestOutputOfEndedBackendsIsKeptForAWhile(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	d.cfg.keepEnded = time.Hour
	d.begin()
	c.awaitLease(d)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	d.runtime.Write("one", "why\n")
	d.runtime.Kill("one", plane.Exit{})
	c.await("one", plane.Terminated)
	graves := &d.agent.crew.Load().graves
	eventually(t, "the end is acknowledged", func() bool {
		graves.mu.Lock()
		defer graves.mu.Unlock()
		return len(graves.all) == 1
	})
	c.send(wire.LogsAsk{ID: 1, Backend: "one"})
	eventually(t, "its output is read", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.logs[1] != nil && c.logs[1].end != nil && c.logs[1].text == "why\n"
	})
	for i := range maxGraves {
		graves.add(plane.BackendID(fmt.Sprint(i)), time.Now())
	}
	d.agent.crew.Load().sweepGraves(t.Context())
	eventually(t, "the oldest of too many is forgotten", func() bool { return len(d.runtime.Kept()) == 0 })
}

type sights struct {
	mu  sync.Mutex
	all []Moment
}

func (s *sights) Observe(m Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, m)
}

func (s *sights) kinds(id plane.BackendID) (out []MomentKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.all {
		if m.Backend == id {
			out = append(out, m.Kind)
		}
	}
	return out
}

func TestObserverSeesEverything(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	o := &sights{}
	d.cfg.Observer = o
	d.cfg.telemetry = 10 * time.Millisecond
	d.runtime.Program = func(runtime.Unit) fake.Program { return fake.Program{Everywhere: true} }
	d.begin()
	c.awaitLease(d)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	eventually(t, "the warning is seen", func() bool { return slices.Contains(o.kinds("one"), MomentWarning) })
	eventually(t, "usage is reported", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.usage) == 1 && c.usage[0].CPUMS == 7 && c.usage[0].Warning != ""
	})
	d.runtime.Write("one", "hello\n")
	eventually(t, "output is seen", func() bool { return slices.Contains(o.kinds("one"), MomentOutput) })
	d.stop()
	d.begin()
	c.awaitLease(d)
	d.runtime.Write("one", "last words\n")
	code := 3
	d.runtime.Kill("one", plane.Exit{Code: &code})
	end := c.await("one", plane.Terminated)
	if !strings.Contains(end.Exit.Output, "last words") || *end.Exit.Code != 3 {
		t.Errorf("ended as %+v", end.Exit)
	}
	eventually(t, "the end is seen", func() bool { return slices.Contains(o.kinds("one"), MomentEnded) })
	got := slices.Compact(o.kinds("one"))
	got = slices.DeleteFunc(got, func(k MomentKind) bool { return k == MomentWarning || k == MomentOutput })
	if want := []MomentKind{MomentStarted, MomentReady, MomentAdopted, MomentEnded}; !slices.Equal(slices.Compact(got), want) {
		t.Errorf("saw %v", got)
	}
}

func TestReadinessOfAnInheritedSocketIsAnAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if !connects(ctx, l.Addr().String()) {
		t.Fatal("it takes connections")
	}
	if answersHTTP(ctx, gate.DialAddress, l.Addr().String()) {
		t.Error("nobody answered")
	}
	go func() { _ = http.Serve(l, http.NotFoundHandler()) }()
	if !answersHTTP(t.Context(), gate.DialAddress, l.Addr().String()) {
		t.Error("any answer counts")
	}
}
