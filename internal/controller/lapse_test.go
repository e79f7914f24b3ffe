package controller

import (
	"context"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func fast(s *plane.Spec) { s.Lease = plane.Fast }

func TestKeyHeldUnhealthyUntilTheLapseThenNextGeneration(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	p.Controller.started = time.Now().Add(-time.Minute)
	d := p.drone("dr-1")
	first := p.connectTo(keyed("doc", fast))
	p.until(first.BackendID, plane.Ready)
	d.end()
	eventually(t, "the drone is gone", func() bool { return p.drones.session("dr-1") == nil })
	p.drone("dr-2")
	p.lived()

	if got := p.connectTo(keyed("doc", fast)); got.BackendID != first.BackendID {
		t.Fatalf("just after the drone was heard: %+v", got)
	}
	p.clock.step(6500 * time.Millisecond)
	if _, err := p.Connect(t.Context(), operatorActor, keyed("doc", fast)); !plane.IsKind(err, plane.KeyHeldUnhealthy) {
		t.Fatalf("while the lease runs: %v", err)
	}
	p.clock.step(4 * time.Second)
	p.lived()
	next := p.connectTo(keyed("doc", fast))
	if !next.Spawned || *next.Drone != "dr-2" || next.Generation <= first.Generation {
		t.Fatalf("after the lapse: %+v", next)
	}
	e, err := p.Status(t.Context(), first.BackendID)
	if err != nil || e.Status != plane.Terminated || e.TerminationReason != plane.Lost {
		t.Errorf("the old generation: %+v, %v", e, err)
	}
	var row store.Drone
	p.view(func(tx store.Tx) (err error) { row, err = tx.Drone("dr-1"); return err })
	if row.Epochs != (plane.Epochs{2, 1, 1}) {
		t.Errorf("epochs %v: the lapse must be recorded, of its class alone", row.Epochs)
	}
	// Whoever notices late dates the end to the lease's, not to the notice.
	var old store.Backend
	p.view(func(tx store.Tx) (err error) { old, err = tx.Backend(first.BackendID); return err })
	if want := row.RenewedAt.Add(plane.Fast.Terms().Store); !old.StateAt.Equal(want) {
		t.Errorf("it ended at %v, want %v", old.StateAt, want)
	}
}

func (p *plant) view(fn func(store.Tx) error) {
	p.t.Helper()
	if err := p.db.View(p.t.Context(), fn); err != nil {
		p.t.Fatal(err)
	}
}

// pausing stops before the first Update after it was armed.
type pausing struct {
	store.Store
	mu    sync.Mutex
	armed func()
}

func (s *pausing) Exclusive() bool { return true }

func (s *pausing) Update(ctx context.Context, fn func(store.Tx) error) error {
	s.mu.Lock()
	then := s.armed
	s.armed = nil
	s.mu.Unlock()
	if then != nil {
		then()
	}
	return s.Store.Update(ctx, fn)
}

func TestControllerPausedBetweenReadAndWriteMovesNoLiveKey(t *testing.T) {
	hook := &pausing{}
	p := newPlant(t, plantOptions{idle: true, wrap: func(s store.Store) store.Store { hook.Store = s; return hook }})
	p.Controller.started = time.Now().Add(-time.Minute)
	d := p.drone("dr-1")
	first := p.connectTo(keyed("doc", fast))
	p.until(first.BackendID, plane.Ready)
	d.end()
	eventually(t, "the drone is gone", func() bool { return p.drones.session("dr-1") == nil })
	p.drone("dr-2")
	p.clock.step(11 * time.Second)
	p.lived()
	hook.mu.Lock()
	hook.armed = func() {
		// The controller has read that the lease ran out; now, before it
		// writes, the renewal that was under way is committed.
		err := hook.Urgent(context.Background(), func(tx store.Tx) error {
			ok, err := tx.Renew("dr-1", "a1", 1000, plane.Epochs{1, 1, 1})
			if !ok {
				t.Error("the renewal did nothing")
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	hook.mu.Unlock()
	got := p.connectTo(keyed("doc", fast))
	if got.Spawned || got.BackendID != first.BackendID {
		t.Fatalf("a live key was moved: %+v", got)
	}
}

func TestRenewalThatFindsItsClassLapsedIsRefused(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", still)
	f := p.connectTo(keyed("f", fast))
	b := p.connectTo(keyed("b"))
	p.until(f.BackendID, plane.Ready)
	p.until(b.BackendID, plane.Ready)
	p.clock.step(10 * time.Second)
	p.lived()
	d.renew()
	eventually(t, "the renewal is refused", func() bool {
		a := d.answered()
		last := a[len(a)-1]
		return last.Outcome == wire.RenewalRefused && last.Epochs == plane.Epochs{2, 1, 1}
	})
	p.until(f.BackendID, plane.Terminated)
	if s := p.statusOf(b.BackendID); s != plane.Ready {
		t.Errorf("the other class is %s", s)
	}
}

func TestADroneThatWasSilentIsRenewedAgain(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	d := p.drone("dr-1", still)
	p.clock.step(2 * time.Minute)
	p.lived()
	last := func() (wire.Renewed, int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.renewed[len(d.renewed)-1], len(d.renewed)
	}
	for _, want := range []wire.Outcome{wire.RenewalRefused, wire.RenewalOK} {
		_, before := last()
		d.renew()
		eventually(t, "the renewal is answered", func() bool { _, n := last(); return n > before })
		got, _ := last()
		if got.Outcome != want {
			t.Fatalf("got %+v, want %s", got, want)
		}
		d.mu.Lock()
		d.holding, _ = d.holding.Raised(got.Epochs)
		d.mu.Unlock()
	}
}

func TestNothingLapsesWithoutASteadyDatabaseClock(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true, config: func(c *Config) { c.Clock = nil }})
	p.Controller.started = time.Now().Add(-time.Minute)
	d := p.drone("dr-1")
	first := p.connectTo(keyed("doc", fast))
	p.until(first.BackendID, plane.Ready)
	d.end()
	eventually(t, "the drone is gone", func() bool { return p.drones.session("dr-1") == nil })
	p.drone("dr-2")
	p.clock.step(time.Hour) // the wall clock is set; our own says that no time has passed
	if _, err := p.Connect(t.Context(), operatorActor, keyed("doc", fast)); !plane.IsKind(err, plane.KeyHeldUnhealthy) {
		t.Fatalf("after a step of the clock: %v", err)
	}
}

func TestSteady(t *testing.T) {
	base := time.Unix(1_700_000_000, 0)
	at := func(own, db time.Duration) clockPair { return clockPair{base.Add(db), plane.Instant(own)} }
	run := func(n int, step func(i int) time.Duration) []clockPair {
		var out []clockPair
		for i := range n {
			own := time.Duration(i) * time.Second
			out = append(out, at(own, own+step(i)))
		}
		return out
	}
	none := func(int) time.Duration { return 0 }
	for _, c := range []struct {
		name  string
		pairs []clockPair
		now   clockPair
		want  bool
	}{
		{"long and even", run(60, none), at(60*time.Second, 60*time.Second), true},
		{"no history", nil, at(time.Hour, time.Hour), false},
		{"short history", run(5, none), at(5*time.Second, 5*time.Second), false},
		{"step now", run(60, none), at(60*time.Second, 3660*time.Second), false},
		{"step back", run(60, none), at(60*time.Second, 50*time.Second), false},
		{"step within the window", run(60, func(i int) time.Duration { return time.Duration(i/55) * time.Minute }), at(60*time.Second, 120*time.Second), false},
		{"step long ago", run(60, func(i int) time.Duration { return min(time.Duration(i/10), 1) * time.Minute }), at(60*time.Second, 120*time.Second), true},
		{"rate 0.4 %", run(60, func(i int) time.Duration { return time.Duration(i) * 4 * time.Millisecond }), at(60*time.Second, 60*time.Second+240*time.Millisecond), true},
		{"rate 5 %", run(60, func(i int) time.Duration { return time.Duration(i) * 50 * time.Millisecond }), at(60*time.Second, 63*time.Second), false},
		{"own clock went back", run(60, none), at(3*time.Second, 60*time.Second), false},
	} {
		if got := steady(c.pairs, c.now, plane.Fast.Terms().Store); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestTrap17_LateOfflineNeverOverwrites(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	d := p.drone("dr-1")
	old := p.drones.session("dr-1")
	d.connect()
	eventually(t, "the new connection is there", func() bool {
		s := p.drones.session("dr-1")
		return s != nil && s.connection == old.connection+1
	})
	p.droneLeft(old)
	var row store.Drone
	p.view(func(tx store.Tx) (err error) { row, err = tx.Drone("dr-1"); return err })
	if row.Controller != p.Name() {
		t.Error("the end of the old connection wrote over the new one")
	}
}

func TestUndeliveredSpawnStaysWithItsDrone(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	p.drone("dr-2", func(d *drone) { d.hello.Pool = "other" })
	b := p.connectTo(keyed("doc"))
	d.end() // whether it has read the spawn, nobody knows
	eventually(t, "the drone is gone", func() bool { return p.drones.session("dr-1") == nil })
	other := keyed("doc", func(s *plane.Spec) { s.Pool = "other" })
	if got := p.connectTo(other); got.BackendID != b.BackendID {
		t.Fatalf("the key left an unlapsed drone: %+v", got)
	}
	d.mu.Lock()
	d.autoplay, d.spawns = true, nil
	d.mu.Unlock()
	d.connect()
	p.until(b.BackendID, plane.Ready)
	if g := d.spawned()[0].Grant; g.Renewal < 2 || g.Epoch != 1 {
		t.Errorf("the grant of the second sending: %+v", g)
	}
}

func TestTrap01_SpawnThenTerminate(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	for _, wait := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 50 * time.Millisecond} {
		b := p.connectTo(keyed("doc"))
		time.Sleep(wait) // the case itself
		if err := p.Terminate(t.Context(), operatorActor, b.BackendID, plane.Hard); err != nil {
			t.Fatal(err)
		}
		p.until(b.BackendID, plane.Terminated)
	}
}

func TestTrap13_OneTerminateIsOneAction(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	b := p.connectTo(keyed("doc"))
	for _, k := range []plane.StopKind{plane.Soft, plane.Soft, plane.Hard, plane.Soft, plane.Hard} {
		if err := p.Terminate(t.Context(), operatorActor, b.BackendID, k); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both kinds arrive", func() bool { return len(d.stopped()) == 2 })
	d.say(b.BackendID, plane.State{Status: plane.Terminated, Reason: plane.External})
	p.until(b.BackendID, plane.Terminated)
	if err := p.Terminate(t.Context(), operatorActor, b.BackendID, plane.Soft); err != nil {
		t.Errorf("terminating what has ended: %v", err)
	}
	p.view(func(tx store.Tx) error {
		left, err := tx.Pending(b.BackendID)
		if len(left) != 0 {
			t.Errorf("%d actions are left of an ended backend", len(left))
		}
		return err
	})
	if err := p.Terminate(t.Context(), operatorActor, "unknown", plane.Soft); !plane.IsKind(err, plane.NotFound) {
		t.Errorf("an unknown backend: %v", err)
	}
}

func TestTrap02_DroneThatKnowsNothingOfItEndsIt(t *testing.T) {
	p := newPlant(t, plantOptions{})
	// It never sees the spawn; to the terminate it answers as one that knows
	// nothing of the backend, and so not its generation either.
	p.drone("dr-1", answers(func(d *drone, m wire.Message) bool {
		switch m := m.(type) {
		case wire.Spawn:
			return true
		case wire.Terminate:
			_ = d.conn.Send(wire.Acted{Action: m.Action, Backend: m.Backend})
			d.sayLocked(m.Backend, plane.State{Status: plane.Terminated, Reason: plane.Lost, Exit: &plane.Exit{}})
			return true
		}
		return false
	}))
	b := p.connectTo(keyed("doc"))
	if err := p.Terminate(t.Context(), operatorActor, b.BackendID, plane.Soft); err != nil {
		t.Fatal(err)
	}
	p.until(b.BackendID, plane.Terminated)
	if next := p.connectTo(keyed("doc")); !next.Spawned {
		t.Errorf("the key isn't free: %+v", next)
	}
}
