package proxy

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"plane"
	"plane/internal/wire"
)

func readyTable(id plane.BackendID) (*table, *backend) {
	u := &uses{wake: make(chan struct{}, 1)}
	t := newTable(u)
	return t, t.apply(&plane.Route{Backend: id, Generation: 1, KeyHash: "k", Status: plane.Ready, Address: "a:1"}, time.Now())
}

// nobody is a client that nothing reaches.
type nobody struct{ client }

func (nobody) kill() {}

// The counter of open exchanges is what they are, in every order of events; and
// an idle answer means that nothing is open, nor was opened since the report
// that the controller has, and that nothing opens before Resume.
func TestTrap12_OpenCounterNeverDeviates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, b := readyTable("b1")
		var open []*exchange
		var upgraded int
		var opened, reported int64
		quiesced := false
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				x := &exchange{client: nobody{}}
				switch v := b.admit(x, nil); {
				case v == admitted && quiesced:
					t.Fatal("admitted while quiesced")
				case v != admitted && !quiesced:
					t.Fatalf("not admitted: %v", v)
				case v == admitted:
					open, opened = append(open, x), opened+1
				}
			},
			"close": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				if open[i].upgraded {
					upgraded--
				}
				b.release(open[i])
				open = append(open[:i], open[i+1:]...)
			},
			"upgrade": func(t *rapid.T) {
				for _, x := range open {
					if !x.upgraded {
						b.upgrade(x)
						upgraded++
						return
					}
				}
				t.Skip()
			},
			"report": func(*rapid.T) {
				for _, use := range table.uses.take() {
					reported = use.Opened
				}
			},
			"quiesce": func(t *rapid.T) {
				idle := table.quiesce("b1", reported)
				if idle != (len(open) == 0 && (quiesced || opened <= reported)) {
					t.Fatalf("idle %v with %d open, %d opened, %d reported", idle, len(open), opened, reported)
				}
				quiesced = quiesced || idle
			},
			"resume": func(*rapid.T) { table.resume("b1", time.Now()); quiesced = false },
			"": func(t *rapid.T) {
				use, _ := b.report()
				if use.Plain != len(open)-upgraded || use.Upgraded != upgraded || use.Opened != opened {
					t.Fatalf("%+v with %d open, %d upgraded, %d opened", use, len(open), upgraded, opened)
				}
				b.mu.Lock()
				b.noted = false // report took it out of the list that "report" reads
				b.noteLocked()
				b.mu.Unlock()
			},
		})
	})
}

func TestQuiesceAndAdmissionDoNotRace(t *testing.T) {
	table, b := readyTable("b1")
	var open, admissions atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				x := &exchange{client: nobody{}}
				if b.admit(x, nil) == admitted {
					open.Add(1)
					admissions.Add(1)
					if rand.N(4) == 0 {
						b.upgrade(x)
					}
					open.Add(-1)
					b.release(x)
				}
				time.Sleep(time.Duration(rand.N(300)) * time.Microsecond)
			}
		})
	}
	idle := 0
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		var last int64
		for _, u := range table.uses.take() {
			last = u.Opened
		}
		if table.quiesce("b1", last) {
			idle++
			was := admissions.Load()
			time.Sleep(200 * time.Microsecond)
			if open.Load() != 0 || admissions.Load() > was {
				t.Fatal("opened after the answer that it is idle")
			}
			table.resume("b1", time.Now())
		}
	}
	close(stop)
	wg.Wait()
	if use, _ := b.report(); use.Open() != 0 || use.Opened != admissions.Load() {
		t.Errorf("%+v after %d admissions", use, admissions.Load())
	}
	if idle == 0 {
		t.Log("never idle: nothing was proved")
	}
}

func TestQuiescedRequestsAreHeldThenResumed(t *testing.T) {
	c := start(t)
	route := c.backend("b1", 1, echo)
	tok := c.token("b1")
	c.get("/" + tok + "/")
	used := await(c.controller, func(a wire.Activity) bool { return a.Uses[0].Opened >= 1 && a.Uses[0].Open() == 0 })
	c.send(wire.Quiesce{ID: 1, Backend: "b1", Opened: 0})
	if q := await(c.controller, func(q wire.Quiesced) bool { return q.ID == 1 }); q.Idle {
		t.Error("idle, though used since that report")
	}
	c.send(wire.Quiesce{ID: 2, Backend: "b1", Opened: used.Uses[0].Opened})
	if q := await(c.controller, func(q wire.Quiesced) bool { return q.ID == 2 }); !q.Idle {
		t.Error("not idle")
	}
	result := make(chan reply, 1)
	go func() { result <- c.get("/" + tok + "/") }()
	eventually(t, "a request held", func() bool {
		b, _ := c.proxy.table.find(ref{kind: refBackend, name: "b1"}, time.Now())
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.waiters == 1
	})
	c.send(wire.Resume{Backend: "b1"})
	if r := <-result; r.status != 200 {
		t.Errorf("after Resume: %d", r.status)
	}
	eventually(t, "its end", func() bool { return c.openUse("b1") == 0 }) // which comes after its answer
	c.send(wire.Quiesce{ID: 3, Backend: "b1", Opened: 1 << 40})
	await(c.controller, func(q wire.Quiesced) bool { return q.ID == 3 && q.Idle })
	go func() { result <- c.get("/" + tok + "/") }()
	route.Status, route.Revision = plane.Terminating, 0
	c.push(route)
	if r := <-result; r.status != 410 {
		t.Errorf("after it was put to sleep: %d", r.status)
	}
	// A backend that isn't known here is held as well, and let go again.
	c.send(wire.Quiesce{ID: 4, Backend: "z1"})
	if q := await(c.controller, func(q wire.Quiesced) bool { return q.ID == 4 }); !q.Idle {
		t.Error("unknown backend in use")
	}
	c.send(wire.Resume{Backend: "z1"})
	eventually(t, "nothing kept of it", func() bool {
		b, _ := c.proxy.table.find(ref{kind: refBackend, name: "z1"}, time.Now())
		return b == nil
	})
}

func TestCountersNeverRunBackwards(t *testing.T) {
	table, b := readyTable("b1")
	for range 5 {
		x := &exchange{client: nobody{}}
		b.admit(x, nil)
		b.release(x)
	}
	table.review(false, time.Now())
	again := table.apply(&plane.Route{Backend: "b1", Generation: 1, KeyHash: "k", Status: plane.Ready, Address: "a:1"}, time.Now())
	if b.admit(&exchange{client: nobody{}}, nil) != forgotten {
		t.Error("a forgotten backend still admits")
	}
	if use, _ := again.report(); use.Opened != 5 {
		t.Errorf("opened %d after it was forgotten, want 5", use.Opened)
	}
	x := &exchange{client: nobody{}}
	again.admit(x, nil)
	again.release(x)
	if table.quiesce("b1", 5) {
		t.Error("idle, though used since the report of its former self")
	}
}

func TestTrap33_MapsAreBounded(t *testing.T) {
	now := time.Now()
	table, _ := readyTable("b0")
	for i := range 200_000 {
		id := plane.BackendID(fmt.Sprint("x", i))
		r := &plane.Route{Backend: id, Generation: 1, KeyHash: fmt.Sprint("k", i), StaticHash: fmt.Sprint("s", i), Status: plane.Ready, Address: "a:1"}
		b := table.apply(r, now)
		table.name(ref{kind: refKey, name: r.KeyHash}, b)
		table.miss(ref{kind: refStatic, name: fmt.Sprint("m", i)}, 0, now)
		table.withdraw(id, nil, now)
	}
	if len(table.backends) != 1 || len(table.static) != 0 || len(table.byName) != 0 {
		t.Errorf("kept: %d backends, %d static, %d names", len(table.backends), len(table.static), len(table.byName))
	}
	if len(table.misses) > maxMisses || len(table.ended) > maxEnded || len(table.endings) != len(table.ended) || len(table.keys) > maxSleepy+1 {
		t.Errorf("kept: %d misses, %d ended, %d keys", len(table.misses), len(table.ended), len(table.keys))
	}
	if b := table.apply(&plane.Route{Backend: "x199999", Generation: 1, KeyHash: "k199999", Status: plane.Ready}, now); b != nil {
		t.Error("what ended came back")
	}
	if b := table.apply(&plane.Route{Backend: "y", Generation: 0, KeyHash: "k199999", Status: plane.Ready}, now); b != nil {
		t.Error("an older generation came after the newer one's end")
	}
}

func TestLowerRevisionsNeverReplaceHigher(t *testing.T) {
	table, b := readyTable("b1")
	now := time.Now()
	table.apply(&plane.Route{Backend: "b1", Generation: 1, KeyHash: "k", Status: plane.Terminating, Revision: 7}, now)
	table.apply(&plane.Route{Backend: "b1", Generation: 1, KeyHash: "k", Status: plane.Ready, Address: "a:1", Revision: 6}, now)
	if !b.ending() {
		t.Error("an older revision came through")
	}
}

func TestAStateNeverFallsBack(t *testing.T) {
	c := start(t)
	r := c.backend("b1", 1, echo)
	if got := c.get("/" + c.token("b1") + "/"); got.status != http.StatusOK {
		t.Fatalf("%+v", got)
	}
	// Recorded after proxies had heard that it is ready.
	r.Status, r.Address, r.Revision = plane.Waiting, "", r.Revision+1
	c.push(r)
	eventually(t, "the news is there", func() bool {
		c.proxy.table.mu.RLock()
		b := c.proxy.table.backends["b1"]
		c.proxy.table.mu.RUnlock()
		now, _ := b.look()
		return now.Revision == r.Revision
	})
	if got := c.get("/" + c.token("b1") + "/"); got.status != http.StatusOK {
		t.Errorf("a ready backend is waited for: %+v", got)
	}
}

func TestNothingIsDoneTwiceWhenItsBackendEnds(t *testing.T) {
	heard, hold := make(chan string, 9), make(chan struct{})
	c := start(t)
	slow := newServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		heard <- r.Method
		<-hold
	}))
	defer close(hold)
	quick := newServer(t, echo)
	asked := &plane.RouteEnd{Message: "Ended because somebody asked.", Asked: true}
	for i, test := range []struct {
		method string
		end    *plane.RouteEnd
		status int
	}{
		{"GET", nil, 503},
		{"HEAD", nil, 503},
		{"PUT", nil, 503},
		{"POST", nil, 503},
		{"GET", asked, 200},
		{"PUT", asked, 200},
		{"POST", asked, 503},
		{"GET", &plane.RouteEnd{Message: "By itself."}, 503},
	} {
		name := fmt.Sprintf("doc%d", i)
		route := func(id string, g plane.Generation, address string) plane.Route {
			return plane.Route{
				Backend: plane.BackendID(id + name), Generation: g, KeyHash: plane.Key{Name: name, Namespace: "board"}.Hash(),
				Cluster: testCluster, Status: plane.Ready, App: "board", Access: plane.AccessPublic, Address: address,
			}
		}
		now := route("a", 1, slow)
		c.mu.Lock()
		c.onKey = func(wire.KeyAsk) *wire.KeyAnswer { r := now; return &wire.KeyAnswer{Route: &r} }
		c.mu.Unlock()
		nc := c.dial()
		defer nc.Close()
		if _, err := io.WriteString(nc, httpHead(test.method, name+"--board.localhost:9090", "/pay", "Content-Length: 0")); err != nil {
			t.Fatal(err)
		}
		<-heard
		c.mu.Lock()
		ended := now
		now = route("b", 2, quick)
		c.mu.Unlock()
		ended.Status, ended.Address, ended.End = plane.Terminated, "", test.end
		c.push(ended)
		resp, err := http.ReadResponse(bufio.NewReader(nc), &http.Request{Method: test.method})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != test.status || test.status == 503 && resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v", test.method, resp.StatusCode, resp.Header)
		}
	}
}
