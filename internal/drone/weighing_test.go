package drone

import (
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/wire"
)

// usageOf is the last report of one backend.
func (c *controller) usageOf(id plane.BackendID) (u wire.Usage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.usage {
		if x.Backend == id {
			u = x
		}
	}
	return u
}

// Where the file system can't bound a directory, its size is watched, and people
// are told before it is too late.
func TestDataIsWeighedAndItsLimitWarnedOf(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	d.real()
	d.cfg.telemetry, d.cfg.weighing = 20*time.Millisecond, 20*time.Millisecond
	d.begin()
	c.awaitLease(d)
	limit := int64(4 << 20)
	limited := func(m *wire.Spawn) {
		x, _ := plane.ParseExecutable(m.Spec.Executable)
		x.Limits.DiskLimitBytes = &limit
		words(x)(m)
	}
	c.spawn("one", "doc", runs(), onVolume("vo-1", "new"), limited)
	at := c.reach("one").Address
	call(t, "PUT", at, "/data/a", strings.Repeat("x", 3500<<10))
	patiently(t, "it is warned of 80 %", func() bool {
		u := c.usageOf("one")
		return u.Data > 3400<<10 && strings.Contains(u.Warning, "8") && strings.Contains(u.Warning, "disk_limit_bytes 4194304")
	})
	if w := c.usageOf("one").Warning; !strings.Contains(w, "raise the limit") || strings.Contains(w, "nothing here stops") {
		t.Errorf("the warning is %q", w)
	}
	call(t, "PUT", at, "/data/b", strings.Repeat("x", 900<<10))
	patiently(t, "it is warned of 100 %", func() bool { return strings.Contains(c.usageOf("one").Warning, "nothing here stops it") })
	// Both were said once.
	r := d.agent.crew.Load().roster.get("one")
	d.stop()
	r.warnOfSize(4 << 20)
	r.warnOfSize(5 << 20)
	d.logged.mu.Lock()
	defer d.logged.mu.Unlock()
	if n := strings.Count(d.logged.b.String(), "disk_limit_bytes 4194304"); n != 2 {
		t.Errorf("people were told %d times", n)
	}
}

// A limit that bounds nothing is said to.
func TestDiskLimitWithoutDataIsToldToBoundNothing(t *testing.T) {
	c, d := begun(t)
	limit := int64(4 << 20)
	x := plane.Executable{Command: []string{"prog"}, Limits: plane.ResourceLimits{DiskLimitBytes: &limit}}
	for _, id := range []plane.BackendID{"one", "two"} {
		c.spawn(id, string(id), words(x))
		c.await(id, plane.Ready)
	}
	d.logged.mu.Lock()
	defer d.logged.mu.Unlock()
	if n := strings.Count(d.logged.b.String(), "the app has none"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

// What doesn't run writes nothing: an idle backend costs no walk.
func TestIdleBackendsAreNotWeighedAgain(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c) // the fake's backends use no processor
	d.cfg.weighing = time.Hour
	d.begin()
	c.awaitLease(d)
	c.spawn("one", "doc", spec(func(s *plane.Spec) { s.Data = plane.DataScratch }))
	c.await("one", plane.Ready)
	r := d.agent.crew.Load().roster.get("one")
	r.weigh(t.Context(), 0)
	first := r.weight.at
	r.weigh(t.Context(), 0)
	if first.IsZero() || r.weight.at != first {
		t.Errorf("weighed at %v and %v", first, r.weight.at)
	}
}
