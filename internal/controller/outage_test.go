package controller

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// failing is a store that can be away.
type failing struct {
	store.Store
	away atomic.Bool
}

var errAway = errors.New("the database is away")

func (s *failing) Exclusive() bool { return true }

func (s *failing) View(ctx context.Context, fn func(store.Tx) error) error {
	if s.away.Load() {
		return errAway
	}
	return s.Store.View(ctx, fn)
}

func (s *failing) Update(ctx context.Context, fn func(store.Tx) error) error {
	if s.away.Load() {
		return errAway
	}
	return s.Store.Update(ctx, fn)
}

func (s *failing) Urgent(ctx context.Context, fn func(store.Tx) error) error {
	if s.away.Load() {
		return errAway
	}
	return s.Store.Urgent(ctx, fn)
}

func TestTrap22_EverythingSurvivesAStoreThatIsAway(t *testing.T) {
	db := &failing{}
	p := newPlant(t, plantOptions{wrap: func(s store.Store) store.Store { db.Store = s; return db }})
	d := p.drone("dr-1")
	b := p.connectTo(keyed("doc"))
	p.until(b.BackendID, plane.Ready)
	p.connectTo(keyed("doc"))

	db.away.Store(true)
	if got := p.connectTo(keyed("doc")); got.BackendID != b.BackendID {
		t.Error("a live key that is remembered needs no store")
	}
	if _, err := p.Connect(t.Context(), operatorActor, keyed("new")); !errors.Is(err, errAway) {
		t.Errorf("a new key: %v", err)
	}
	if err := p.Health(t.Context()); err == nil {
		t.Error("healthy without a store")
	}
	end := d.say(b.BackendID, plane.State{Status: plane.Terminated})[0]
	lost := d.renew()
	time.Sleep(300 * time.Millisecond) // the loops meet the outage
	if d.acknowledged(end) {
		t.Error("acknowledged before it was committed")
	}
	for _, a := range d.answered() {
		if a.Number == lost {
			t.Error("a renewal was answered before it was committed")
		}
	}
	db.away.Store(false)
	eventually(t, "the report is recorded", func() bool { return d.acknowledged(end) })
	n := d.renew()
	eventually(t, "renewals are answered again", func() bool {
		a := d.answered()
		return a[len(a)-1].Number == n && a[len(a)-1].Outcome == wire.RenewalOK
	})
	p.until(p.connectTo(keyed("doc")).BackendID, plane.Ready)
}

func TestTrap15_SilentDroneDelaysNoOther(t *testing.T) {
	p := newPlant(t, plantOptions{})
	// It takes spawns and idle questions and answers nothing.
	p.drone("dr-1", func(d *drone) {
		d.hello.Pool = "silent"
		d.answers = func(_ *drone, m wire.Message) bool {
			switch m.(type) {
			case wire.Spawn, wire.IdleAsk, wire.Terminate:
				return true
			}
			return false
		}
	})
	p.drone("dr-2", stopsWhenAsked(""))
	p.proxy("px-1")
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 50 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		wg.Go(func() {
			p.connectTo(keyed("silent-"+name, func(s *plane.Spec) { s.Pool = "silent" }))
			b := p.connectTo(keyed("quick-"+name, maxIdle(60)))
			p.until(b.BackendID, plane.Ready)
			p.soon(b.BackendID)
			p.until(b.BackendID, plane.Terminated)
		})
	}
	wg.Wait()
	if took := time.Since(start); took > 45*time.Second {
		t.Errorf("beside a silent drone the other took %v", took)
	}
}

func TestTrap14_TerminateNeverOvertakesItsSpawnInTheStore(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	d := p.drone("dr-1", manual)
	d.end()
	eventually(t, "the drone is gone", func() bool { return p.drones.session("dr-1") == nil })
	// Both wait in the store: written while the drone was away.
	var ids []plane.BackendID
	d.connect()
	for _, k := range []string{"a", "b", "c"} {
		ids = append(ids, p.connectTo(keyed(k)).BackendID)
	}
	d.end()
	eventually(t, "the drone is gone", func() bool { return p.drones.session("dr-1") == nil })
	for _, id := range ids {
		if err := p.Terminate(t.Context(), operatorActor, id, plane.Soft); err != nil {
			t.Fatal(err)
		}
	}
	var order []string
	d.mu.Lock()
	d.answers = func(_ *drone, m wire.Message) bool {
		switch m := m.(type) {
		case wire.Spawn:
			order = append(order, "spawn "+string(m.Backend))
		case wire.Terminate:
			order = append(order, "stop "+string(m.Backend))
		}
		return false
	}
	d.spawns, d.stops = nil, nil
	d.mu.Unlock()
	d.connect()
	eventually(t, "all six arrive", func() bool { return len(d.spawned()) == 3 && len(d.stopped()) == 3 })
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := map[string]bool{}
	for _, o := range order {
		seen[o] = true
		if len(o) > 5 && o[:5] == "stop " && !seen["spawn "+o[5:]] {
			t.Errorf("order %v", order)
		}
	}
}
