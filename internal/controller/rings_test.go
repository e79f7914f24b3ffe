package controller

import (
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func TestPlanRotation(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	key := func(n uint32, active time.Duration) store.TokenKey {
		return store.TokenKey{Number: n, ActiveAt: start.Add(active)}
	}
	for _, c := range []struct {
		name   string
		keys   []store.TokenKey
		oldest time.Duration // of the oldest live backend; < 0 = none
		now    time.Duration
		add    uint32
		active time.Duration
		drop   int
	}{
		{"young", []store.TokenKey{key(1, 0)}, -1, time.Hour, 0, 0, 0},
		{"published an hour before", []store.TokenKey{key(1, 0)}, -1, 23 * time.Hour, 2, 24 * time.Hour, 0},
		{"after an outage", []store.TokenKey{key(1, 0)}, -1, 50 * time.Hour, 2, 51 * time.Hour, 0},
		{"published", []store.TokenKey{key(1, 0), key(2, 24*time.Hour)}, -1, 23*time.Hour + time.Minute, 0, 0, 0},
		{"older backend lives", []store.TokenKey{key(1, 0), key(2, 24*time.Hour)}, 20 * time.Hour, 30 * time.Hour, 0, 0, 0},
		{"younger backends only", []store.TokenKey{key(1, 0), key(2, 24*time.Hour)}, 26 * time.Hour, 30 * time.Hour, 0, 0, 1},
		{"no backends", []store.TokenKey{key(1, 0), key(2, 24*time.Hour)}, -1, 30 * time.Hour, 0, 0, 1},
	} {
		oldest := time.Time{}
		if c.oldest >= 0 {
			oldest = start.Add(c.oldest)
		}
		r := planRotation(c.keys, oldest, start.Add(c.now))
		if (r.add != nil) != (c.add != 0) || len(r.drop) != c.drop {
			t.Errorf("%s: %+v", c.name, r)
			continue
		}
		if r.add != nil && (r.add.Number != c.add || !r.add.ActiveAt.Equal(start.Add(c.active))) {
			t.Errorf("%s: adds %+v", c.name, r.add)
		}
	}
}

func TestRotationKeepsOldTokensOpen(t *testing.T) {
	p := newPlant(t, plantOptions{idle: true})
	p.drone("dr-1")
	x := p.proxy("px-1")
	b := p.connectTo(keyed("doc"))
	p.until(b.BackendID, plane.Ready)
	p.clock.step(23*time.Hour + time.Minute)
	if err := p.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the proxy knows the next key", func() bool {
		k := received[wire.Keys](x)
		return len(k) == 1 && len(k[0].Keys) == 2
	})
	p.clock.step(48 * time.Hour)
	if err := p.rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.rings.of(testCluster).Open(b.Token); err != nil {
		t.Errorf("a token of a live backend: %v", err)
	}
}

func TestCleanup(t *testing.T) {
	p := newPlant(t, plantOptions{config: func(c *Config) { c.CleanupMinAge = time.Hour }})
	p.drone("dr-1")
	x := p.proxy("px-1")
	dead, alive := p.connectTo(keyed("dead")), p.connectTo(keyed("alive"))
	p.until(dead.BackendID, plane.Ready)
	p.until(alive.BackendID, plane.Ready)
	if err := p.Terminate(t.Context(), operatorActor, dead.BackendID, plane.Hard); err != nil {
		t.Fatal(err)
	}
	p.until(dead.BackendID, plane.Terminated)
	eventually(t, "the proxy was told", func() bool { return x.route(dead.BackendID).Status == plane.Terminated })
	_ = x.conn.Send(wire.Activity{Uses: []wire.Use{{Backend: dead.BackendID, Opened: 3}, {Backend: alive.BackendID, Opened: 1}}})
	s := p.proxies.of(testCluster)[0]
	eventually(t, "the late report is there", func() bool { return s.used(alive.BackendID).Opened == 1 })
	p.clock.step(2 * time.Hour)
	if err := p.cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Status(t.Context(), dead.BackendID); !plane.IsKind(err, plane.NotFound) {
		t.Errorf("what ended long ago: %v", err)
	}
	p.statusOf(alive.BackendID)
	if s.used(dead.BackendID).Opened != 0 || s.used(alive.BackendID).Opened != 1 {
		t.Error("memory of ended backends isn't dropped, or of live ones is")
	}
	id := string(dead.BackendID)
	if _, err := p.Connect(t.Context(), operatorActor, keyed("other", func(s *plane.Spec) { s.ID = &id })); !plane.IsKind(err, plane.FailedToAcquireKey) {
		t.Errorf("an id was used again: %v", err)
	}
}
