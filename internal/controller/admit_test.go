package controller

import (
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func (d *drone) heldNow(spawn wire.Spawn, status plane.Status) wire.Held {
	return wire.Held{
		Backend: spawn.Backend, Key: spawn.Key, Generation: spawn.Generation, Policy: spawn.Grant.Policy,
		Epoch: spawn.Grant.Epoch, State: plane.State{Status: status, Address: "127.0.0.1:4000"}, Spec: spawn.Spec,
	}
}

func TestRestartedAgentKeepsItsBackends(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	a, b := p.connectTo(keyed("a")), p.connectTo(keyed("b"))
	p.until(a.BackendID, plane.Ready)
	p.until(b.BackendID, plane.Ready)
	d.end()
	d.hello.Agent = "a2"
	d.hello.Inventory = []wire.Held{
		d.heldNow(d.spawned()[0], plane.Ready),
		{Backend: "stranger", Key: plane.Key{Name: "c"}, Generation: plane.NewGeneration(1, 99), Policy: plane.Balanced, Epoch: 1, State: plane.State{Status: plane.Ready}},
	}
	d.connect()
	if k := d.welcome.Kill; len(k) != 1 || k[0] != "stranger" {
		t.Errorf("to kill: %v", k)
	}
	if d.welcome.Epochs != (plane.Epochs{1, 1, 1}) {
		t.Errorf("a restart ended epochs: %v", d.welcome.Epochs)
	}
	p.until(b.BackendID, plane.Terminated) // it isn't there any more, and was never heard of again
	if s := p.statusOf(a.BackendID); s != plane.Ready {
		t.Errorf("what it has is %s", s)
	}
	if e, _ := p.Status(t.Context(), b.BackendID); e.TerminationReason != plane.Lost {
		t.Errorf("what it lost: %+v", e)
	}
}

func TestJoinEndsWhatRanBefore(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	b := p.connectTo(keyed("doc"))
	p.until(b.BackendID, plane.Ready)
	d.end()
	d.hello.Joins, d.hello.BootID = true, "boot-2"
	eventually(t, "the old connection is gone", func() bool { return p.drones.session("dr-1") == nil })
	d.connect()
	if d.welcome.Epochs != (plane.Epochs{2, 2, 2}) {
		t.Errorf("epochs %v", d.welcome.Epochs)
	}
	if s := p.statusOf(b.BackendID); s != plane.Terminated {
		t.Errorf("what ran before is %s", s)
	}
	next := p.connectTo(keyed("doc"))
	if !next.Spawned || next.Generation <= b.Generation {
		t.Errorf("next %+v", next)
	}
}

func TestLostMemoryIsNoProofOfDeath(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	b := p.connectTo(keyed("doc", fast))
	p.until(b.BackendID, plane.Ready)
	d.end()
	eventually(t, "the old connection is gone", func() bool { return p.drones.session("dr-1") == nil })
	d.hello.Epochs, d.hello.Store, d.hello.BootID = nil, plane.StoreEpoch{}, "boot-2"
	if err := d.tryConnect(); err == nil || !strings.Contains(err.Error(), "lease still runs") {
		t.Fatalf("let in: %v", err)
	}
	p.clock.step(10 * time.Second)
	p.lived()
	d.connect()
	p.until(b.BackendID, plane.Terminated)
}

func TestTrap26_DroneOfAnotherStore(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", func(d *drone) {
		d.hello.Epochs = &plane.Epochs{7, 7, 7}
		d.hello.Store = plane.StoreEpoch{StoreID: "another", Number: 1}
		d.hello.Inventory = []wire.Held{{Backend: "old", Key: plane.Key{Name: "doc"}, Generation: plane.NewGeneration(1, 5), Policy: plane.Balanced, Epoch: 7, State: plane.State{Status: plane.Ready}}}
	})
	if k := d.welcome.Kill; len(k) != 1 || k[0] != "old" {
		t.Errorf("to kill: %v", k)
	}
	if d.welcome.Epochs != (plane.Epochs{8, 8, 8}) {
		t.Errorf("epochs %v: those of the other store must end", d.welcome.Epochs)
	}
	p.until(p.connectTo(keyed("doc")).BackendID, plane.Ready)
}

func TestRestoredStoreAdoptsAndFreezes(t *testing.T) {
	p := newPlant(t, plantOptions{})
	var epoch plane.StoreEpoch
	p.view(func(tx store.Tx) (err error) { epoch, err = tx.StoreEpoch(); return err })
	d := p.drone("dr-1", func(d *drone) {
		d.hello.Epochs = &plane.Epochs{3, 3, 3}
		d.hello.Store = plane.StoreEpoch{StoreID: epoch.StoreID, Number: 4}
		d.hello.Inventory = []wire.Held{
			{Backend: "kept", Key: plane.Key{Name: "doc"}, Generation: plane.NewGeneration(4, 5), Policy: plane.Balanced, Epoch: 3, State: plane.State{Status: plane.Ready, Address: "127.0.0.1:1"}},
		}
	})
	if d.welcome.Store.Number != 5 {
		t.Errorf("store epoch %+v", d.welcome.Store)
	}
	if got := p.connectTo(keyed("doc")); got.BackendID != "kept" {
		t.Errorf("what was found running: %+v", got)
	}
	for _, step := range []time.Duration{0, time.Hour, -2 * time.Hour, time.Hour} {
		p.clock.jump(step)
		if _, err := p.Connect(t.Context(), operatorActor, keyed("other")); !plane.IsKind(err, plane.Unavailable) {
			t.Fatalf("granted during the freeze, after the database's clock stepped by %s: %v", step, err)
		}
	}
	p.clock.jump(-time.Hour) // doesn't draw it out
	p.clock.step(plane.Balanced.Terms().Store + time.Second)
	d.renew()
	p.until(p.connectTo(keyed("other")).BackendID, plane.Ready)
}

func TestLostCommitsAreAdopted(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	old := p.connectTo(keyed("doc"))
	p.until(old.BackendID, plane.Ready)
	d.end()
	eventually(t, "the old connection is gone", func() bool { return p.drones.session("dr-1") == nil })
	// The drone remembers a store that went on: doc was ended and started
	// again, and those commits are lost.
	d.hello.Store.Number = 2
	d.hello.Inventory = []wire.Held{{
		Backend: "newer", Key: plane.Key{Name: "doc"}, Generation: plane.NewGeneration(2, 1), Policy: plane.Balanced, Epoch: 1,
		State: plane.State{Status: plane.Ready, Address: "127.0.0.1:2"}, Spec: *spec(),
	}}
	d.connect()
	if len(d.welcome.Kill) != 0 {
		t.Errorf("to kill: %v", d.welcome.Kill)
	}
	got := p.connectTo(keyed("doc"))
	if got.Spawned || got.BackendID != "newer" || got.Generation != plane.NewGeneration(2, 1) {
		t.Errorf("connect found %+v", got)
	}
	if s := p.statusOf(old.BackendID); s != plane.Terminated {
		t.Errorf("the older generation is %s", s)
	}
}

func TestNewerAgentSupersedes(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	other := &drone{t: t, p: p, hello: d.hello, done: map[int64]bool{}, has: map[plane.BackendID]wire.Spawn{}, status: map[plane.BackendID]plane.Status{}}
	other.hello.Agent = "a2"
	other.connect()
	eventually(t, "the older agent is told", func() bool {
		a := d.answered()
		return a[len(a)-1].Outcome == wire.RenewalSuperseded
	})
	eventually(t, "its connection ends", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.ended != nil })
}

func TestAnotherMachineOfThatNameIsRefused(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	clone := &drone{t: t, p: p, hello: d.hello}
	clone.hello.BootID, clone.hello.Agent = "elsewhere", "a9"
	if err := clone.tryConnect(); err == nil || !strings.Contains(err.Error(), "another machine") {
		t.Errorf("let in: %v", err)
	}
}

func TestHelloIsChecked(t *testing.T) {
	for name, change := range map[string]func(*wire.DroneHello){
		"protocol": func(h *wire.DroneHello) { h.Protocol = 99 },
		"name":     func(h *wire.DroneHello) { h.Name = "px-1" },
		"cluster":  func(h *wire.DroneHello) { h.Cluster = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t, plantOptions{idle: true})
			d := &drone{t: t, p: p, hello: wire.DroneHello{Node: wire.Node{Protocol: wire.Version, Name: "dr-1", Cluster: testCluster}}}
			change(&d.hello)
			if err := d.tryConnect(); err == nil {
				t.Error("let in")
			}
		})
	}
}

func TestControllerRestartForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	p := newPlant(t, plantOptions{dir: dir})
	d := p.drone("dr-1")
	b := p.connectTo(keyed("doc", maxIdle(60)))
	p.until(b.BackendID, plane.Ready)
	d.end()
	p.end()

	q := newPlant(t, plantOptions{dir: dir})
	d.p = q
	late := p.connectLater(q, keyed("doc"))
	d.hello.Inventory = []wire.Held{d.heldNow(d.spawned()[0], plane.Ready)}
	d.connect()
	if got := <-late; got.BackendID != b.BackendID {
		t.Errorf("after a restart: %+v", got)
	}
	x := q.proxy("px-1")
	claims, err := q.rings.of(testCluster).Open(b.Token)
	if err != nil || claims.Backend != b.BackendID {
		t.Errorf("a token of before: %v", err)
	}
	_ = x.conn.Send(wire.RouteAsk{ID: 1, Backend: b.BackendID})
	eventually(t, "the route is there", func() bool {
		a := received[wire.RouteAnswer](x)
		return len(a) == 1 && a[0].Route != nil && a[0].Route.Address != ""
	})
}

func (p *plant) connectLater(q *plant, r ConnectRequest) <-chan ConnectResponse {
	out := make(chan ConnectResponse, 1)
	go func() {
		got, err := q.Connect(q.t.Context(), operatorActor, r)
		if err != nil {
			q.t.Error(err)
		}
		out <- got
	}()
	return out
}
