package drone

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/table"
	"plane/internal/runtime"
	"plane/internal/runtime/fake"
	"plane/internal/wire"
)

// One lost answer ends nothing: every attempt is repeated under a new number.
func TestTrap07_LostAnswersAreAskedForAgain(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	before := d.runtime.Deadline("one")
	dropped := 0
	c.locked(func() {
		c.renewed = func(m wire.Renew) wire.Message {
			if dropped++; dropped <= 3 {
				return nil
			}
			c.committed = m.Number
			return wire.Renewed{Number: m.Number, Outcome: wire.RenewalOK, Epochs: c.epochs, Store: c.store}
		}
	})
	// A fast backend makes the drone renew now, and often.
	c.spawn("two", "fast", func(s *wire.Spawn) { s.Grant = c.grant(plane.Fast) })
	eventually(t, "the lease is extended", func() bool { return d.runtime.Deadline("one") > before })
	c.locked(func() {
		numbers := map[int64]bool{}
		for _, r := range c.renewals {
			if numbers[r.Number] {
				t.Errorf("number %d was used twice", r.Number)
			}
			numbers[r.Number] = true
		}
	})
	if s := c.state("one"); s.Status != plane.Ready {
		t.Errorf("it is %+v", s)
	}
}

// The lease counts from when the answered attempt was sent, not from its
// answer and not from a later attempt.
func TestDeadlineCountsFromTheSendOfTheAnsweredAttempt(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	var number int64
	attempts := 0
	c.locked(func() {
		c.renewed = func(m wire.Renew) wire.Message {
			if attempts++; attempts == 1 {
				number = m.Number
			}
			if attempts < 3 {
				return nil
			}
			// Now the first one is answered, late.
			return wire.Renewed{Number: number, Outcome: wire.RenewalOK, Epochs: c.epochs, Store: c.store}
		}
	})
	sent := d.clock.Now()
	c.spawn("two", "fast", func(s *wire.Spawn) { s.Grant = c.grant(plane.Fast) })
	eventually(t, "the late answer counts", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return number != 0 && d.agent.crew.Load().keeper.get().Committed >= number
	})
	h := d.agent.crew.Load().keeper.get()
	if after := h.SentAt.Sub(sent); after > 250*time.Millisecond {
		t.Errorf("the lease counts from %v after the first attempt", after)
	}
	if got, want := h.Deadline(plane.Balanced), h.SentAt.Add(45*time.Second); got != want {
		t.Errorf("deadline %v, want %v", got, want)
	}
	d.table.mu.Lock()
	defer d.table.mu.Unlock()
	last := d.table.extend[len(d.table.extend)-3:]
	for i, p := range plane.Policies {
		if last[i] != (extension{p, 1, h.Deadline(p)}) {
			t.Errorf("table was told %+v", last[i])
		}
	}
}

func TestTrap08_SpawnsThatStandOnNothingAreRefused(t *testing.T) {
	c, d := begun(t)
	for name, test := range map[string]struct {
		alter func(*plane.Grant)
		want  plane.Refusal
	}{
		"old-epoch":       {func(g *plane.Grant) { g.Epoch-- }, plane.RefusedEpoch},
		"future-epoch":    {func(g *plane.Grant) { g.Epoch++ }, plane.RefusedEpoch},
		"unknown-renewal": {func(g *plane.Grant) { g.Renewal += 1000 }, plane.RefusedLate},
		"no-renewal":      {func(g *plane.Grant) { g.Renewal = 0 }, plane.RefusedLate},
		"old-store":       {func(g *plane.Grant) { g.Store.Number-- }, plane.RefusedStoreEpoch},
		"other-store":     {func(g *plane.Grant) { g.Store.StoreID = "x" }, plane.RefusedStoreEpoch},
		"no-policy":       {func(g *plane.Grant) { g.Policy = "x" }, plane.RefusedEpoch},
	} {
		id := plane.BackendID(name)
		if a := c.spawn(id, name, func(s *wire.Spawn) { test.alter(&s.Grant) }); a.Refusal != test.want {
			t.Errorf("%s: %q, want %q", name, a.Refusal, test.want)
		}
		// The refusal is for ever: a good copy changes nothing.
		if a := c.spawn(id, name); a.Refusal != test.want {
			t.Errorf("%s again: %q, want %q", name, a.Refusal, test.want)
		}
		if d.runtime.Starts(id) != 0 {
			t.Errorf("%s was started", name)
		}
	}
	if !d.logged.has("refused") {
		t.Error("a refusal isn't logged")
	}
}

func TestTrap08_LateSpawnIsRefused(t *testing.T) {
	c, d := begun(t)
	c.locked(func() { c.mute = true })
	late := c.order("late", "k")
	d.clock.jump(45 * time.Second) // the drone was suspended; the order waited in a buffer
	c.send(late)
	if a := c.answer(late.Action); a.Refusal != plane.RefusedLate {
		t.Errorf("late order: %q", a.Refusal)
	}
	if d.runtime.Starts("late") != 0 {
		t.Error("it was started")
	}
}

func TestTombstonesSurviveTheAgentAndEnd(t *testing.T) {
	c, d := begun(t)
	c.terminate("x", plane.Soft)
	c.await("x", plane.Terminated)
	d.stop()
	d.begin()
	c.awaitLease(d)
	if a := c.spawn("x", "k"); a.Refusal != plane.RefusedTombstone {
		t.Errorf("after a restart: %q", a.Refusal)
	}
	crew := d.agent.crew.Load()
	eventually(t, "the tombstone had its time", func() bool {
		d.clock.jump(plane.Balanced.TombstoneLife())
		crew.expireTombstones()
		crew.roster.mu.Lock()
		defer crew.roster.mu.Unlock()
		return len(crew.roster.tombstones) == 0
	})
}

// Until the controller has heard of a refusal it may send the order again, with
// a newer grant, and that copy may be late too.
func TestTombstonesCountFromTheirAcknowledgement(t *testing.T) {
	c, d := begun(t)
	c.locked(func() { c.noAck = true })
	bad := func(s *wire.Spawn) { s.Grant.Renewal = 0 }
	if a := c.spawn("refused", "k", bad); a.Refusal != plane.RefusedLate {
		t.Fatalf("refused: %q", a.Refusal)
	}
	c.terminate("ended", plane.Soft)
	c.await("ended", plane.Terminated)
	c.await("refused", plane.Terminated)
	crew := d.agent.crew.Load()
	left := func() int {
		crew.expireTombstones()
		crew.roster.mu.Lock()
		defer crew.roster.mu.Unlock()
		return len(crew.roster.tombstones)
	}
	d.clock.jump(2 * plane.Balanced.TombstoneLife())
	if n := left(); n != 2 {
		t.Fatalf("%d of 2 tombstones are left before the acknowledgement", n)
	}
	c.locked(func() { c.noAck = false })
	c.drop() // what is unacknowledged is reported again
	eventually(t, "the tombstones count anew", func() bool {
		crew.roster.mu.Lock()
		defer crew.roster.mu.Unlock()
		for _, tomb := range crew.roster.tombstones {
			if tomb.Until < d.clock.Now() {
				return false
			}
		}
		return true
	})
	d.clock.jump(plane.Balanced.TombstoneLife() - time.Second)
	if n := left(); n != 2 {
		t.Fatalf("%d of 2 tombstones are left after the acknowledgement", n)
	}
	d.clock.jump(2 * time.Second)
	if n := left(); n != 0 {
		t.Errorf("%d tombstones are left for ever", n)
	}
}

func TestEndedBackendNeverStartsAgain(t *testing.T) {
	c, d := begun(t)
	m := c.order("one", "k")
	c.send(m)
	c.await("one", plane.Ready)
	c.terminate("one", plane.Hard)
	c.await("one", plane.Terminated)
	for range 2 { // before and after the acknowledgement of the end
		c.send(m)
		c.answer(m.Action)
		eventually(t, "the end is acknowledged", func() bool { return len(d.runtime.Kept()) == 0 })
	}
	if n := d.runtime.Starts("one"); n != 1 {
		t.Errorf("started %d times", n)
	}
}

func TestKeyInUseIsRefused(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(runtime.Unit) fake.Program { return fake.Program{IgnoreTerm: true} }
	c.spawn("g1", "k")
	c.await("g1", plane.Ready)
	if a := c.spawn("g2", "k"); a.Refusal != plane.RefusedKeyInUse {
		t.Errorf("second generation: %q", a.Refusal)
	}
	c.terminate("g1", plane.Soft)
	if a := c.spawn("g3", "k"); a.Refusal != plane.RefusedKeyInUse {
		t.Errorf("while the first ends: %q", a.Refusal)
	}
	c.terminate("g1", plane.Hard)
	c.await("g1", plane.Terminated)
	if a := c.spawn("g4", "k"); a.Refusal != "" {
		t.Errorf("after its end: %q", a.Refusal)
	}
	// Also what only the table knows counts.
	d.stop()
	d.table.extra = []table.Entry{{Backend: "ghost", Key: plane.Key{Name: "other"}.Hash()}}
	d.begin()
	c.awaitLease(d)
	if a := c.spawn("g5", "other"); a.Refusal != plane.RefusedKeyInUse {
		t.Errorf("beside an unknown entry: %q", a.Refusal)
	}
	d.table.mu.Lock()
	defer d.table.mu.Unlock()
	if _, condemned := d.table.short["ghost"]; !condemned {
		t.Error("the unknown entry was left alone")
	}
}

func TestLapseEndsWhatItHadGranted(t *testing.T) {
	c, d := begun(t)
	c.spawn("balanced", "a")
	c.spawn("sticky", "b", func(s *wire.Spawn) { s.Grant = c.grant(plane.Sticky) })
	c.await("balanced", plane.Ready)
	c.await("sticky", plane.Ready)
	if d.runtime.Deadline("sticky") != plane.Never {
		t.Error("sticky has a deadline")
	}
	c.locked(func() { c.epochs[plane.Balanced.Index()]++ })
	c.drop()
	if end := c.await("balanced", plane.Terminated); end.Reason != plane.KeyExpired {
		t.Errorf("ended as %+v", end)
	}
	c.awaitLease(d)
	if s := c.state("sticky"); s.Status != plane.Ready {
		t.Errorf("sticky is %+v", s)
	}
	// By a refused renewal too.
	c.spawn("next", "c")
	c.await("next", plane.Ready)
	c.locked(func() { c.epochs[plane.Balanced.Index()]++ })
	c.spawn("fast", "d", func(s *wire.Spawn) { s.Grant = c.grant(plane.Fast) })
	if end := c.await("next", plane.Terminated); end.Reason != plane.KeyExpired {
		t.Errorf("ended as %+v", end)
	}
	if a := c.spawn("more", "e"); a.Refusal != "" {
		t.Errorf("in the new epoch: %q", a.Refusal)
	}
}

// A deadline that passed while no agent was there: nothing is taken over, and
// the end is dated to the deadline, not to the agent's return.
func TestWhatEndedWithoutAnAgentIsNotTakenOver(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	o := &sights{}
	d.cfg.Observer = o
	d.begin()
	c.awaitLease(d)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	d.stop()
	const away = 10 * time.Minute
	d.clock.jump(away)
	back := time.Now()
	d.begin()
	if end := c.await("one", plane.Terminated); end.Reason != plane.KeyExpired {
		t.Errorf("ended as %+v", end)
	}
	eventually(t, "the end is seen", func() bool { return slices.Contains(o.kinds("one"), MomentEnded) })
	if got := o.kinds("one"); slices.Contains(got, MomentAdopted) {
		t.Errorf("told as taken over: %v", got)
	}
	c.locked(func() {
		for _, r := range c.reports {
			ago := back.Sub(time.UnixMilli(r.AtMS))
			if r.Backend == "one" && r.State.Status == plane.Terminated && (ago < away-plane.Balanced.Terms().Holder-time.Second || ago > away) {
				t.Errorf("it ended %v before the agent was back, want about %v", ago, away-plane.Balanced.Terms().Holder)
			}
		}
	})
}

// When the lease runs out the executioners kill; the agent says why.
func TestEndAtTheDeadlineIsKeyExpired(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	c.locked(func() { c.mute = true })
	d.clock.jump(46 * time.Second)
	if end := c.await("one", plane.Terminated); end.Reason != plane.KeyExpired {
		t.Errorf("ended as %+v", end)
	}
}

func TestSupersededAgentLeaves(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	c.locked(func() {
		c.renewed = func(m wire.Renew) wire.Message {
			return wire.Renewed{Number: m.Number, Outcome: wire.RenewalSuperseded}
		}
	})
	c.send(c.order("two", "fast", func(s *wire.Spawn) { s.Grant = c.grant(plane.Fast) }))
	select {
	case err := <-d.ended:
		if !errors.Is(err, ErrSuperseded) {
			t.Errorf("Run: %v", err)
		}
		d.cancel = nil
	case <-time.After(5 * time.Second):
		t.Fatal("it stays")
	}
	if !d.running("one") {
		t.Error("it took its backends along")
	}
}

func TestWelcomeKillsWhatIsOlder(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.spawn("two", "l")
	c.await("one", plane.Ready)
	c.await("two", plane.Ready)
	c.locked(func() { c.kill = []plane.BackendID{"one"}; c.store.Number = 4 })
	c.drop()
	c.await("one", plane.Terminated)
	c.awaitLease(d)
	if !d.running("two") {
		t.Error("it killed another one too")
	}
	if a := c.spawn("old", "m", func(s *wire.Spawn) { s.Grant.Store.Number = 3 }); a.Refusal != plane.RefusedStoreEpoch {
		t.Errorf("spawn of the older store epoch: %q", a.Refusal)
	}
}

// The store's epoch is remembered over a power cut; an older store is refused.
func TestOlderStoreIsRefused(t *testing.T) {
	c, d := begun(t)
	d.stop()
	c.locked(func() { c.store.Number = 2 })
	d.begin()
	eventually(t, "it says so", func() bool { return d.logged.has("older than one that this drone has served") })
	c.locked(func() {
		if h := c.hellos[len(c.hellos)-1]; h.Store.Number != 3 {
			t.Errorf("hello says %+v", h.Store)
		}
		c.store.Number = 4
	})
	c.awaitLease(d)
}

func TestTrap26_AnotherStoreIsSaidAndResolved(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	c.locked(func() {
		c.store = plane.StoreEpoch{StoreID: "store-b", Number: 1}
		c.epochs = plane.Epochs{1, 1, 1}
		c.committed = 0
	})
	c.drop()
	eventually(t, "what the former store started is gone", func() bool { return !d.running("one") })
	c.awaitLease(d)
	if !d.logged.has("another store than before") {
		t.Error("it isn't said")
	}
	if a := c.spawn("two", "k"); a.Refusal != "" {
		t.Errorf("the new store is refused: %q", a.Refusal)
	}
	c.await("two", plane.Ready)
}

// Orders of one backend keep their order; one slow backend holds up no other.
func TestTrap14_OrderPerBackendParallelAcross(t *testing.T) {
	c, d := begun(t)
	release := make(chan struct{})
	d.runtime.OnPrepare = func(ctx context.Context, u runtime.Unit) error {
		if u.Key.Name == "slow" {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return ctx.Err()
	}
	c.spawn("slow", "slow")
	c.spawn("quick", "quick")
	c.await("quick", plane.Ready)
	if s := c.state("slow"); s.Status != plane.Loading {
		t.Errorf("slow is %+v", s)
	}
	close(release)
	c.await("slow", plane.Ready)
	for i := range 20 {
		id := plane.BackendID(fmt.Sprintf("b%d", i))
		m := c.order(id, string(id))
		c.send(m)
		c.send(wire.Terminate{Action: c.action(), Backend: id, Policy: plane.Balanced, Kind: plane.Hard, Reason: plane.External})
		c.send(m) // a copy, late
	}
	for i := range 20 {
		c.await(plane.BackendID(fmt.Sprintf("b%d", i)), plane.Terminated)
	}
	eventually(t, "only two run", func() bool { return len(d.runtime.Running()) == 2 })
}

// Reports that weren't acknowledged are sent again, with their numbers and times.
func TestTrap16_ReplayKeepsNumbersAndTimes(t *testing.T) {
	c, d := begun(t)
	c.locked(func() { c.noAck = true })
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	var before []wire.Status
	c.locked(func() { before = slices.Clone(c.reports) })
	d.stop()
	again := map[int64]wire.Status{}
	c.locked(func() {
		c.noAck = false
		c.seen = map[int64]bool{}
		c.reports = nil
	})
	d.begin()
	eventually(t, "all are sent again", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range c.reports {
			again[r.Seq] = r
		}
		return len(again) >= len(before)
	})
	for _, r := range before {
		if got := again[r.Seq]; got.AtMS != r.AtMS || got.State.Status != r.State.Status {
			t.Errorf("report %+v came again as %+v", r, got)
		}
	}
}

// A controller that doesn't read is given up, not waited for; a long outage's
// reports go out in bounded messages.
func TestTrap19_TheReaderNeverWaitsForTheWriter(t *testing.T) {
	c, d := begun(t)
	crew := d.agent.crew.Load()
	c.locked(func() { c.noAck = true })
	for range 3000 {
		crew.reportLost("x", 1)
		crew.outbox.mu.Lock()
		crew.outbox.pending[len(crew.outbox.pending)-1].State.Status = plane.Loading
		crew.outbox.mu.Unlock()
	}
	eventually(t, "all reports arrive", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.reports) >= 3000
	})
	// Orders are still taken.
	if a := c.spawn("one", "k"); a.Refusal != "" {
		t.Error(a.Refusal)
	}
}

func TestTrap20_ReportsAreSentInBoundedBatches(t *testing.T) {
	c, d := begun(t)
	crew := d.agent.crew.Load()
	d.stop()
	o := crew.outbox
	for i := range 1000 {
		o.pending = append(o.pending, pending{})
		o.pending[len(o.pending)-1].Seq = int64(1_000_000 + i)
	}
	o.sent = 0
	total := 0
	for batch := o.next(time.Now()); len(batch) > 0; batch = o.next(time.Now()) {
		if len(batch) > reportBatch {
			t.Fatalf("a message has %d reports", len(batch))
		}
		total += len(batch)
	}
	if total < 1000 {
		t.Errorf("%d reports were sent", total)
	}
	_ = c
}

func TestTrap28_ReconnectsAreSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		p := retryPause(0)
		if p > firstRetry {
			t.Fatalf("first pause is %v", p)
		}
		if p := retryPause(20); p > lastRetry {
			t.Fatalf("later pause is %v", p)
		}
		seen[p.Round(10*time.Millisecond)] = true
	}
	if len(seen) < 20 {
		t.Errorf("only %d different pauses", len(seen))
	}
}

func TestReconnectsToAnotherController(t *testing.T) {
	c, d := begun(t)
	other := newController(t)
	other.store, other.epochs = c.store, c.epochs
	d.stop()
	d.cfg.ControllerURLs = []string{c.server.URL, other.server.URL}
	d.begin()
	eventually(t, "one of them is used", func() bool { return c.connected() || other.connected() })
	first, second := c, other
	if !c.connected() {
		first, second = other, c
	}
	first.drop()
	eventually(t, "then the other one", func() bool { return second.connected() })
}
