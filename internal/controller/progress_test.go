package controller

import (
	"context"
	"strings"
	"testing"

	"plane"
	"plane/internal/wire"
)

// pullOf is what a proxy was told last of a backend's preparation.
func (x *proxy) pullOf(id plane.BackendID) plane.Pull {
	if p := x.route(id).Pull; p != nil {
		return *p
	}
	return plane.Pull{}
}

func TestProgressReachesFollowersAndProxies(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d, x, other := p.drone("dr-1", manual), p.proxy("px-1"), p.drone("dr-2", still)
	d.p.lived()
	_, _ = p.Drain(t.Context(), operatorActor, testCluster, "dr-2", true)
	b := p.connectTo(keyed("doc")).BackendID
	eventually(t, "it is spawned", func() bool { return len(d.spawned()) == 1 })
	d.say(b, plane.State{Status: plane.Loading})
	p.until(b, plane.Loading)

	told, statuses, ended := make(chan plane.Pull, 100), make(chan plane.Status, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := plane.Pull{Text: "pulling", Done: 5, Total: 100}
	_ = d.conn.Send(wire.Progress{Backend: b, Text: first.Text, Done: first.Done, Total: first.Total})
	eventually(t, "a proxy hears of it", func() bool { return x.pullOf(b) == first })
	go func() {
		ended <- p.FollowProgress(ctx, b, "", func(e StatusEntry) error { statuses <- e.Status; return nil },
			func(p plane.Pull) error { told <- p; return nil })
	}()
	if got := <-told; got != first {
		t.Errorf("whoever comes later is told %+v", got)
	}
	_ = other.conn.Send(wire.Progress{Backend: b, Text: "somebody else's"})
	_ = d.conn.Send(wire.Progress{Backend: "b0", Text: "unknown"})
	next := plane.Pull{Text: "unpacking " + strings.Repeat("x", progressText-len("unpacking "))}
	_ = d.conn.Send(wire.Progress{Backend: b, Text: next.Text + "too long", Done: -1})
	if got := <-told; got != next {
		t.Errorf("then %+v", got)
	}
	eventually(t, "a proxy hears of that too", func() bool { return x.pullOf(b) == next })
	r := p.answerRoute(t.Context(), p.proxies.of(testCluster)[0], wire.RouteAsk{ID: 1, Backend: b}).(wire.RouteAnswer)
	if r.Route == nil || r.Route.Pull == nil || *r.Route.Pull != next {
		t.Errorf("a proxy that asks is told %+v", r.Route)
	}

	d.say(b, plane.State{Status: plane.Starting})
	eventually(t, "proxies forget it when it starts", func() bool { return x.route(b).Pull == nil })
	_ = d.conn.Send(wire.Progress{Backend: b, Text: "late"})
	d.say(b, plane.State{Status: plane.Waiting, Address: "127.0.0.1:4000"}, plane.State{Status: plane.Ready, Address: "127.0.0.1:4000"})
	p.until(b, plane.Ready)
	_ = d.conn.Send(wire.Progress{Backend: b, Text: "later"})
	d.say(b, plane.State{Status: plane.Terminated, LastStatus: plane.Ready, Exit: &plane.Exit{}})
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	close(told)
	for p := range told {
		t.Errorf("after its preparation %+v was told", p)
	}
	if n := len(statuses); n != 6 {
		t.Errorf("%d statuses were told, none may be missing", n)
	}
	if n := len(p.starting.byID); n != 0 {
		t.Errorf("%d starts are remembered", n)
	}
}

func TestProgressGoesOnAfterAControllersRestart(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	b := p.connectTo(keyed("doc")).BackendID
	eventually(t, "it is spawned", func() bool { return len(d.spawned()) == 1 })
	d.say(b, plane.State{Status: plane.Loading})
	p.until(b, plane.Loading)
	d.end()
	p.end()

	again := newPlant(t, plantOptions{dir: p.dir})
	d.p = again
	d.hello.Inventory = []wire.Held{d.heldNow(d.spawned()[0], plane.Loading)}
	d.connect()
	x := again.proxy("px-1")
	_ = d.conn.Send(wire.Progress{Backend: b, Text: "pulling", Done: 1})
	eventually(t, "a proxy hears of it", func() bool { return x.pullOf(b).Done == 1 })
}
