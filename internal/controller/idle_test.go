package controller

import (
	"context"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/wire"
)

func maxIdle(seconds int32) func(*plane.Spec) {
	return func(s *plane.Spec) { s.MaxIdle = &seconds }
}

// soon lets a backend's idle time be over, but for the grace of its connect.
func (p *plant) soon(id plane.BackendID) {
	p.t.Helper()
	eventually(p.t, "its idle time counts", func() bool {
		p.use.mu.Lock()
		defer p.use.mu.Unlock()
		e := p.use.byID[id]
		if e == nil {
			return false
		}
		e.grace, e.next = time.Time{}, time.Time{}
		e.since = time.Now().Add(-e.limit)
		return true
	})
}

// stopsWhenAsked is a drone that says yes and then reports the end.
func stopsWhenAsked(why string) droneOption {
	return answers(func(d *drone, m wire.Message) bool {
		q, ok := m.(wire.IdleAsk)
		if !ok {
			return false
		}
		_ = d.conn.Send(wire.IdleAnswer{ID: q.ID, Backend: q.Backend, Yes: why == "", Why: why})
		if why == "" {
			d.sayLocked(q.Backend, plane.State{Status: plane.Terminating, Termination: plane.Soft, Reason: plane.Swept},
				plane.State{Status: plane.Terminated, Termination: plane.Soft, Reason: plane.Swept, Exit: &plane.Exit{}})
		}
		return true
	})
}

func TestIdleBackendsStop(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1", stopsWhenAsked(""))
	x := p.proxy("px-1")
	b := p.connectTo(keyed("doc", maxIdle(5)))
	p.until(b.BackendID, plane.Ready)
	p.soon(b.BackendID)
	p.until(b.BackendID, plane.Terminated)
	if e, _ := p.Status(t.Context(), b.BackendID); e.TerminationReason != plane.Swept {
		t.Errorf("ended for %q", e.TerminationReason)
	}
	if n := len(received[wire.Quiesce](x)); n != 1 {
		t.Errorf("the proxy was asked %d times", n)
	}
	if n := len(received[wire.Resume](x)); n != 0 {
		t.Errorf("what stops was resumed %d times", n)
	}
}

func TestTrap12_OpenRequestsOfAnyKindKeepIt(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1", stopsWhenAsked(""))
	x := p.proxy("px-1")
	b := p.connectTo(keyed("doc", maxIdle(1)))
	p.until(b.BackendID, plane.Ready)
	_ = x.conn.Send(wire.Activity{Uses: []wire.Use{{Backend: b.BackendID, Plain: 1, Opened: 1}}})
	eventually(t, "the use is known", func() bool { return p.proxies.uses(testCluster, b.BackendID).Plain == 1 })
	p.soon(b.BackendID)
	time.Sleep(3 * idleTick) // nothing may happen
	if s := p.statusOf(b.BackendID); s != plane.Ready {
		t.Fatalf("with an open stream it is %s", s)
	}
	why, _ := p.Explain(t.Context(), operatorActor, "", "doc")
	if why.Now == nil || why.Now.Plain != 1 || why.Now.IdleIn != nil || !strings.Contains(why.Now.Awake, "1 open request") {
		t.Errorf("explained: %+v", why.Now)
	}
	_ = x.conn.Send(wire.Activity{Uses: []wire.Use{{Backend: b.BackendID, Plain: -3, Opened: 1}}})
	eventually(t, "a counter below zero is none", func() bool { return p.proxies.uses(testCluster, b.BackendID).Open() == 0 })
	if s := p.statusOf(b.BackendID); s != plane.Ready {
		t.Fatalf("right after the last use it is %s", s)
	}
	p.soon(b.BackendID)
	p.until(b.BackendID, plane.Terminated)
}

func TestAnyNoLetsItGoOn(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1", stopsWhenAsked(`It is held: "export".`))
	x := p.proxy("px-1")
	b := p.connectTo(keyed("doc", maxIdle(5)))
	p.until(b.BackendID, plane.Ready)

	x.setIdle(false)
	p.soon(b.BackendID)
	eventually(t, "the proxy's no resumes it", func() bool { return len(received[wire.Resume](x)) == 1 })
	x.setIdle(true)
	p.soon(b.BackendID)
	eventually(t, "the drone's no resumes it", func() bool { return len(received[wire.Resume](x)) == 2 })
	if s := p.statusOf(b.BackendID); s != plane.Ready {
		t.Errorf("it is %s", s)
	}
	if got := p.use.view(b.BackendID); !strings.Contains(got.why, "export") || time.Until(got.due) < 4*time.Second {
		t.Errorf("after a hold idle time begins anew: %+v", got)
	}
}

func TestProxyThatWasThereMayUseIt(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1", stopsWhenAsked(""))
	x := p.proxy("px-1")
	b := p.connectTo(keyed("doc", maxIdle(1)))
	p.until(b.BackendID, plane.Ready)
	x.end()
	eventually(t, "the proxy is gone", func() bool { return !p.proxies.connected("px-1") })
	p.soon(b.BackendID)
	eventually(t, "it is asked why", func() bool { return strings.Contains(p.use.view(b.BackendID).why, "px-1") })
	if s := p.statusOf(b.BackendID); s != plane.Ready {
		t.Fatalf("it is %s", s)
	}
	p.proxyWith("px-1", []wire.Use{{Backend: b.BackendID, Upgraded: 1, Opened: 4}})
	p.soon(b.BackendID)
	time.Sleep(3 * idleTick) // nothing may happen
	if s := p.statusOf(b.BackendID); s != plane.Ready {
		t.Errorf("in use through the proxy that came back it is %s", s)
	}
}

func TestConnectDuringTheIdleQuestionWaitsForItsAnswer(t *testing.T) {
	p := newPlant(t, plantOptions{})
	ask := make(chan wire.IdleAsk, 1)
	d := p.drone("dr-1", answers(func(_ *drone, m wire.Message) bool {
		q, ok := m.(wire.IdleAsk)
		if ok {
			ask <- q
		}
		return ok
	}))
	p.proxy("px-1")
	b := p.connectTo(keyed("doc", maxIdle(5)))
	p.until(b.BackendID, plane.Ready)
	p.connectTo(keyed("doc")) // it is remembered
	p.soon(b.BackendID)
	q := <-ask
	got := make(chan ConnectResponse, 1)
	go func() {
		out, err := p.Connect(context.Background(), operatorActor, keyed("doc"))
		if err != nil {
			t.Error(err)
		}
		got <- out
	}()
	select {
	case out := <-got:
		t.Fatalf("handed out while it may be stopping: %+v", out)
	case <-time.After(50 * time.Millisecond):
	}
	_ = d.conn.Send(wire.IdleAnswer{ID: q.ID, Backend: q.Backend, Yes: true})
	d.say(b.BackendID, plane.State{Status: plane.Terminated, Reason: plane.Swept})
	if out := <-got; out.BackendID == b.BackendID || !out.Spawned {
		t.Errorf("connect got %+v", out)
	}
}

func TestConnectGivesTimeToCome(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	p.drone("dr-1")
	b := p.connectTo(keyed("doc", maxIdle(1)))
	p.until(b.BackendID, plane.Ready)
	p.soon(b.BackendID)
	p.connectTo(keyed("doc"))
	if due := p.use.due(time.Now().Add(5*time.Second), 10); len(due) != 0 {
		t.Error("idle five seconds after its URL was handed out")
	}
	if due := p.use.due(time.Now().Add(attachGrace+time.Second), 10); len(due) != 1 {
		t.Error("handing out a URL keeps it for ever")
	}
}

func TestWhatCountsAsUseIsTheAppsToSay(t *testing.T) {
	for _, c := range []struct {
		counts   []plane.Use
		requests bool // an open request keeps it awake
		holds    bool // a hold does
	}{
		{nil, true, true},
		{[]plane.Use{plane.UseRequests, plane.UseHolds}, true, true},
		{[]plane.Use{plane.UseRequests}, true, false},
		{[]plane.Use{plane.UseHolds}, false, true},
	} {
		p := newPlant(t, plantOptions{})
		d := p.drone("dr-1", stopsWhenAsked(""))
		x := p.proxy("px-1")
		p.apply("board", plane.Template{Command: []string{"./board"}, Idle: c.counts, MaxIdle: ptr(int32(1))})
		requested, held := p.connectTo(ofApp("board", "requested")), p.connectTo(ofApp("board", "held"))
		p.until(requested.BackendID, plane.Ready)
		p.until(held.BackendID, plane.Ready)
		_ = x.conn.Send(wire.Activity{Uses: []wire.Use{{Backend: requested.BackendID, Upgraded: 1, Opened: 1}}})
		eventually(t, "the request is known", func() bool { return p.proxies.uses(testCluster, requested.BackendID).Upgraded == 1 })
		usages := []wire.Usage{{Backend: held.BackendID, Holds: []wire.Hold{{Name: "render", SecondsTo: 60}}}}
		_ = d.conn.Send(wire.Telemetry{Backends: usages})
		eventually(t, "the hold is known", func() bool { return len(p.drones.session("dr-1").usage.of(held.BackendID).Holds) == 1 })

		if in := p.awake("board", "requested").IdleIn; (in == nil) != c.requests {
			t.Errorf("%v: countdown of the requested one %v", c.counts, in)
		}
		if in := p.awake("board", "held").IdleIn; (in == nil) != c.holds {
			t.Errorf("%v: countdown of the held one %v", c.counts, in)
		}
		p.soon(requested.BackendID)
		if c.requests {
			time.Sleep(2 * idleTick) // nothing may happen
			if s := p.statusOf(requested.BackendID); s != plane.Ready {
				t.Errorf("%v: with an open request it is %s", c.counts, s)
			}
		} else {
			p.until(requested.BackendID, plane.Terminated)
		}
		// A hold begins the idle time anew with every report, where it counts.
		p.soon(held.BackendID)
		p.use.held(usages, time.Now())
		p.use.mu.Lock()
		e := p.use.byID[held.BackendID]
		again := e != nil && time.Since(e.since) < e.limit/2
		p.use.mu.Unlock()
		if again != c.holds {
			t.Errorf("%v: its idle time began anew: %v", c.counts, again)
		}
		p.end()
	}
}

func (p *plant) awake(namespace, name string) NowView {
	p.t.Helper()
	e, err := p.Explain(p.t.Context(), operatorActor, namespace, name)
	if err != nil || e.Now == nil {
		p.t.Fatalf("explain %s/%s: %+v, %v", namespace, name, e, err)
	}
	return *e.Now
}
