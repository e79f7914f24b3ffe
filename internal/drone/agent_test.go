package drone

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/runtime"
	"plane/internal/runtime/fake"
	"plane/internal/wait"
	"plane/internal/wire"
)

func statuses(states []plane.State) (out []plane.Status) {
	for _, s := range states {
		out = append(out, s.Status)
	}
	return out
}

func TestSpawnBecomesReadyAndEnds(t *testing.T) {
	c, d := begun(t)
	if a := c.spawn("one", "k"); a.Refusal != "" {
		t.Fatal(a.Refusal)
	}
	ready := c.await("one", plane.Ready)
	u, _ := d.runtime.Unit("one")
	if want := fmt.Sprintf("127.0.0.1:%d", u.Port); ready.Address != want {
		t.Errorf("address %q, want %q", ready.Address, want)
	}
	for _, e := range []string{
		fmt.Sprintf("PORT=%d", u.Port), "HOST=127.0.0.1", "SESSION_BACKEND_ID=one", "SESSION_BACKEND_KEY=k", "SESSION_BACKEND_NAMESPACE=",
		fmt.Sprintf("SESSION_BACKEND_FENCING_TOKEN=%d", u.Generation), "SESSION_BACKEND_SOCKET=" + d.cfg.Home.BackendSocket("one"),
	} {
		if !slices.Contains(u.Env, e) {
			t.Errorf("environment lacks %s", e)
		}
	}
	c.terminate("one", plane.Soft)
	end := c.await("one", plane.Terminated)
	if end.Reason != plane.External || end.LastStatus != plane.Ready || end.Termination != plane.Soft || end.Exit.Code == nil || *end.Exit.Code != 143 {
		t.Errorf("ended as %+v", end)
	}
	want := []plane.Status{plane.Loading, plane.Starting, plane.Waiting, plane.Ready, plane.Terminating, plane.Terminated}
	if got := statuses(c.states("one")); !slices.Equal(got, want) {
		t.Errorf("reported %v", got)
	}
	eventually(t, "the runtime forgets it", func() bool { return len(d.runtime.Kept()) == 0 })
}

// Spawn, then terminate after 0, 1, 5, 50 ms: always ends, nothing runs.
func TestTrap01_TerminateRightAfterSpawn(t *testing.T) {
	c, d := begun(t)
	d.runtime.OnPrepare = func(ctx context.Context, _ runtime.Unit) error {
		wait.For(ctx, 2*time.Millisecond)
		return ctx.Err()
	}
	d.runtime.OnStart = func(ctx context.Context, _ runtime.Unit) error {
		wait.For(ctx, 3*time.Millisecond)
		return nil
	}
	for _, kind := range []plane.StopKind{plane.Soft, plane.Hard} {
		for _, ms := range []int{0, 1, 2, 3, 4, 5, 6, 50} {
			id := plane.BackendID(fmt.Sprintf("b%s%d", kind, ms))
			spawn := c.order(id, string(id))
			c.send(spawn)
			if ms > 0 {
				wait.For(context.Background(), time.Duration(ms)*time.Millisecond)
			}
			c.terminate(id, kind)
			c.await(id, plane.Terminated)
			if d.running(id) {
				t.Fatalf("%s runs after its end", id)
			}
		}
	}
}

// Terminate means make absent: also of what has gone or never was here.
func TestTrap02_TerminateOfWhatIsGone(t *testing.T) {
	c, d := begun(t)
	c.terminate("never", plane.Soft)
	end := c.await("never", plane.Terminated)
	if end.Reason != plane.Lost {
		t.Errorf("ended as %+v", end)
	}
	// It will never start: the late order finds a tombstone.
	if a := c.spawn("never", "k"); a.Refusal != plane.RefusedTombstone {
		t.Errorf("late order: %q", a.Refusal)
	}
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	d.runtime.Lose("one")
	c.await("one", plane.Terminated)
	for range 3 {
		c.terminate("one", plane.Hard)
	}
	if d.running("one") {
		t.Error("it runs")
	}
}

func TestTrap02_KilledBehindTheAgentsBackInEveryState(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(u runtime.Unit) fake.Program {
		return fake.Program{Mute: u.Key.Name == "waiting", IgnoreTerm: u.Key.Name == "terminating"}
	}
	for _, status := range []plane.Status{plane.Waiting, plane.Ready, plane.Terminating} {
		id := plane.BackendID("b-" + string(status))
		c.spawn(id, string(status))
		if status == plane.Terminating {
			c.await(id, plane.Ready)
			c.terminate(id, plane.Soft)
		}
		c.await(id, status)
		d.runtime.Kill(id, plane.Exit{Signal: "SIGKILL"})
		if end := c.await(id, plane.Terminated); end.Exit.Signal != "SIGKILL" {
			t.Errorf("%s: ended as %+v", status, end)
		}
	}
}

func TestTrap03_SoftBecomesHardAfterItsGrace(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(runtime.Unit) fake.Program { return fake.Program{IgnoreTerm: true} }
	grace := int32(1)
	c.spawn("one", "k", spec(func(s *plane.Spec) { s.StopGrace = &grace }))
	c.await("one", plane.Ready)
	c.terminate("one", plane.Soft)
	c.await("one", plane.Terminating)
	c.terminate("one", plane.Soft) // again: nothing new
	end := c.await("one", plane.Terminated)
	if end.Termination != plane.Hard || end.Reason != plane.External || end.LastStatus != plane.Ready {
		t.Errorf("ended as %+v", end)
	}
	for i, s := range c.states("one") {
		if i > 0 && s.Status.Order() <= c.states("one")[i-1].Status.Order() {
			t.Errorf("statuses %v", statuses(c.states("one")))
		}
	}
}

func TestTrap03_HardOvertakesSoft(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(runtime.Unit) fake.Program { return fake.Program{IgnoreTerm: true} }
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	c.terminate("one", plane.Soft)
	c.terminate("one", plane.Hard)
	if end := c.await("one", plane.Terminated); end.Termination != plane.Hard || end.LastStatus != plane.Ready {
		t.Errorf("ended as %+v", end)
	}
}

func TestTrap04_WhatNeverListensIsEnded(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(runtime.Unit) fake.Program { return fake.Program{Mute: true} }
	limit := int32(1)
	c.spawn("one", "k", spec(func(s *plane.Spec) { s.StartTimeout = &limit }))
	if end := c.await("one", plane.Terminated); end.Reason != plane.StartupTimeout || end.LastStatus != plane.Waiting {
		t.Errorf("ended as %+v", end)
	}
	// A preparation that hangs is bounded too.
	d.runtime.OnPrepare = func(ctx context.Context, _ runtime.Unit) error { <-ctx.Done(); return ctx.Err() }
	c.spawn("two", "k", spec(func(s *plane.Spec) { s.StartTimeout = &limit }))
	if end := c.await("two", plane.Terminated); end.Reason != plane.StartupTimeout || end.LastStatus != plane.Loading {
		t.Errorf("ended as %+v", end)
	}
}

func TestTrap05_TroubleWithWatchingIsATransition(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	d.cfg.patience = 100 * time.Millisecond
	var broken sync.Map
	d.runtime.OnWait = func(id plane.BackendID) error {
		if _, ok := broken.Load(id); ok && d.running(id) {
			return errors.New("no supervision")
		}
		return nil
	}
	d.begin()
	c.awaitLease(d)
	broken.Store(plane.BackendID("one"), true)
	c.spawn("one", "k")
	if end := c.await("one", plane.Terminated); end.Reason != plane.InternalError {
		t.Errorf("ended as %+v", end)
	}
	if d.running("one") {
		t.Error("it runs unobserved")
	}
}

func TestFailedStartSaysWhyAndLeavesNothing(t *testing.T) {
	c, d := begun(t)
	d.runtime.OnStart = func(context.Context, runtime.Unit) error {
		return errors.New("command \"prog\" was not found; install it or give its full path")
	}
	c.spawn("one", "k")
	if end := c.await("one", plane.Terminated); end.Exit.Message == "" || end.LastStatus != plane.Starting || end.Reason != "" {
		t.Errorf("ended as %+v", end)
	}
	c.spawn("two", "k", spec(func(s *plane.Spec) { s.Executable = []byte(`{"image":"x"}`) }))
	if end := c.await("two", plane.Terminated); end.Exit.Message == "" || end.LastStatus != plane.Loading {
		t.Errorf("ended as %+v", end)
	}
}

// A start whose error leaves open whether something runs is looked after.
func TestStartThatFailsAndRunsIsTaken(t *testing.T) {
	c, d := begun(t)
	first := true
	d.runtime.OnStart = func(ctx context.Context, u runtime.Unit) error {
		if first {
			first = false
			if _, err := d.runtime.Start(ctx, u); err != nil {
				return err
			}
			return errors.New("connection lost")
		}
		return nil
	}
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	if n := d.runtime.Starts("one"); n != 1 {
		t.Errorf("started %d times", n)
	}
}

// Restart of the agent with 20 backends: all are taken over as they are.
func TestTrap06_RestartAdoptsEverything(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(u runtime.Unit) fake.Program {
		return fake.Program{Mute: u.Key.Name == "k19", IgnoreTerm: u.Key.Name == "k18"}
	}
	for i := range 20 {
		c.spawn(plane.BackendID(fmt.Sprintf("b%d", i)), fmt.Sprintf("k%d", i))
	}
	for i := range 19 {
		c.await(plane.BackendID(fmt.Sprintf("b%d", i)), plane.Ready)
	}
	c.await("b19", plane.Waiting)
	c.terminate("b18", plane.Soft)
	c.await("b18", plane.Terminating)
	before := d.runtime.Running()
	want := map[plane.BackendID]plane.State{}
	for _, id := range before {
		want[id] = c.state(id)
	}
	d.stop()
	if !slices.Equal(d.runtime.Running(), before) {
		t.Fatal("detaching ended backends")
	}
	d.runtime.Kill("b0", plane.Exit{Signal: "SIGSEGV"}) // while nobody looks
	d.runtime.Lose("b1")
	d.begin()
	c.awaitLease(d)
	if end := c.await("b0", plane.Terminated); end.Exit.Signal != "SIGSEGV" {
		t.Errorf("b0 ended as %+v", end)
	}
	if end := c.await("b1", plane.Terminated); end.Reason != plane.Lost {
		t.Errorf("b1 ended as %+v", end)
	}
	var hello wire.DroneHello
	c.locked(func() { hello = c.hellos[len(c.hellos)-1] })
	if hello.Joins || hello.Epochs == nil || *hello.Epochs != (plane.Epochs{1, 1, 1}) {
		t.Errorf("a restart must resume: %+v", hello)
	}
	for _, h := range hello.Inventory {
		if w := want[h.Backend]; h.Backend != "b0" && h.Backend != "b1" && !reflect.DeepEqual(h.State, w) && h.State.Status != w.Status {
			t.Errorf("%s is %+v, was %+v", h.Backend, h.State, w)
		}
	}
	if len(hello.Inventory) < 18 {
		t.Errorf("inventory has %d", len(hello.Inventory))
	}
	for _, id := range before[2:] {
		if d.runtime.Starts(id) != 1 {
			t.Errorf("%s was started %d times", id, d.runtime.Starts(id))
		}
	}
	if n := len(d.runtime.Running()); n != 18 {
		t.Errorf("%d run, want 18", n)
	}
	// They still obey.
	for i := 2; i < 20; i++ {
		c.terminate(plane.BackendID(fmt.Sprintf("b%d", i)), plane.Hard)
	}
	eventually(t, "nothing runs", func() bool { return len(d.runtime.Running()) == 0 })
}

// Whatever the agent was doing when it ended, the next one finishes.
func TestTrap06_RestartInEveryState(t *testing.T) {
	for _, at := range []plane.Status{plane.Loading, plane.Starting} {
		t.Run(string(at), func(t *testing.T) {
			c, d := begun(t)
			hang := func(ctx context.Context, _ runtime.Unit) error { <-ctx.Done(); return ctx.Err() }
			if at == plane.Loading {
				d.runtime.OnPrepare = hang
			} else {
				// It was started, and the agent never heard.
				d.runtime.OnStart = func(ctx context.Context, u runtime.Unit) error {
					if d.runtime.Starts(u.Backend) == 0 {
						d.runtime.OnStart = nil
						_, _ = d.runtime.Start(ctx, u)
						<-ctx.Done()
					}
					return ctx.Err()
				}
			}
			c.spawn("one", "k")
			c.await("one", at)
			if at == plane.Starting {
				eventually(t, "it runs", func() bool { return d.running("one") })
			}
			d.stop()
			d.runtime.OnPrepare, d.runtime.OnStart = nil, nil
			d.begin()
			c.await("one", plane.Ready)
			if n := d.runtime.Starts("one"); n != 1 {
				t.Errorf("started %d times", n)
			}
		})
	}
}

// An agent that leaves lets starts under way come to their end.
func TestLeavingAbortsNoStart(t *testing.T) {
	c, d := begun(t)
	aborted := false
	d.runtime.OnStart = func(ctx context.Context, u runtime.Unit) error {
		aborted = !wait.For(ctx, 300*time.Millisecond)
		return nil
	}
	c.spawn("one", "k")
	c.await("one", plane.Starting)
	d.stop()
	if aborted || !d.running("one") {
		t.Fatalf("aborted %v, running %v", aborted, d.runtime.Running())
	}
	d.begin()
	c.await("one", plane.Ready)
	if n := d.runtime.Starts("one"); n != 1 {
		t.Errorf("started %d times", n)
	}
}

func TestOrphanIsEnded(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	d.stop()
	j, err := journal.Open(d.cfg.Home.Journal())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Apply(journal.Change{Kind: journal.KindBackend, Key: "one"}, journal.Change{Kind: journal.KindProgress, Key: "one"}); err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	d.begin()
	if end := c.await("one", plane.Terminated); end.Reason != plane.Lost {
		t.Errorf("ended as %+v", end)
	}
	eventually(t, "the orphan is gone", func() bool { return len(d.runtime.Kept()) == 0 })
}

// A reboot of a single host proves that nothing of the former boot runs.
func TestRebootJoinsAnew(t *testing.T) {
	c, d := begun(t)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	d.stop()
	d.runtime.Lose("one")
	d.cfg.BootID = "boot-2"
	d.begin()
	if end := c.await("one", plane.Terminated); end.Reason != plane.Lost {
		t.Errorf("ended as %+v", end)
	}
	c.awaitLease(d)
	c.locked(func() {
		if h := c.hellos[1]; !h.Joins || *h.Epochs != (plane.Epochs{1, 1, 1}) {
			t.Errorf("hello after a reboot: %+v", h)
		}
	})
	if a := c.spawn("two", "k"); a.Refusal != "" {
		t.Errorf("refused: %s", a.Refusal)
	}
}

// Elsewhere it proves nothing: a copy of the disk may run. The old lease is
// neither renewed nor declared over.
func TestRebootWithoutProofWaitsForTheLapse(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	d.cfg.SingleHost = false
	d.begin()
	c.awaitLease(d)
	c.spawn("one", "k")
	c.await("one", plane.Ready)
	d.stop()
	d.runtime.Lose("one")
	d.cfg.BootID = "boot-2"
	renewals := 0
	c.locked(func() { renewals = len(c.renewals) })
	d.begin()
	eventually(t, "it says hello twice", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.hellos) >= 3
	})
	c.locked(func() {
		if len(c.renewals) != renewals {
			t.Error("it renewed the lease of a former boot")
		}
		if h := c.hellos[1]; h.Joins {
			t.Error("it joined without proof")
		}
		c.epochs = plane.Epochs{2, 2, 1} // lapsed
	})
	c.awaitLease(d)
	if c.state("one").Status == plane.Terminated {
		t.Error("it reported an end that it can't know")
	}
}

func TestTornJournalIsNoObstacle(t *testing.T) {
	c, d := begun(t)
	for i := range 3 {
		c.spawn(plane.BackendID(fmt.Sprintf("b%d", i)), fmt.Sprintf("k%d", i))
		c.await(plane.BackendID(fmt.Sprintf("b%d", i)), plane.Ready)
	}
	seqs := 0
	c.locked(func() { seqs = len(c.reports) })
	d.stop()
	tear(t, d.cfg.Home.Journal())
	for i := range 3 {
		d.runtime.Lose(plane.BackendID(fmt.Sprintf("b%d", i)))
	}
	d.cfg.BootID = "boot-2" // the power was cut
	d.begin()
	c.awaitLease(d)
	if a := c.spawn("new", "k0"); a.Refusal != "" {
		t.Errorf("refused: %s", a.Refusal)
	}
	c.await("new", plane.Ready)
	c.locked(func() {
		if c.reports[seqs].Seq <= c.reports[seqs-1].Seq {
			t.Errorf("report number %d after %d", c.reports[seqs].Seq, c.reports[seqs-1].Seq)
		}
		if h := c.hellos[len(c.hellos)-1]; h.Store.Number != 3 {
			t.Errorf("it forgot the store epoch: %+v", h.Store)
		}
	})
}

func TestEndAllEndsSoftlyThenHard(t *testing.T) {
	c, d := begun(t)
	d.runtime.Program = func(u runtime.Unit) fake.Program { return fake.Program{IgnoreTerm: u.Key.Name == "stubborn"} }
	c.spawn("one", "k")
	c.spawn("two", "stubborn")
	c.await("one", plane.Ready)
	c.await("two", plane.Ready)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := d.agent.EndAll(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(d.runtime.Running()); n != 0 {
		t.Errorf("%d run", n)
	}
	// The controller knows.
	if c.state("one").Termination != plane.Soft || c.state("two").Termination != plane.Hard {
		t.Errorf("ended as %+v and %+v", c.state("one"), c.state("two"))
	}
	if a := c.spawn("three", "k"); a.Refusal != plane.RefusedClosing {
		t.Errorf("a spawn after EndAll: %q", a.Refusal)
	}
	d.stop()
	if err := d.agent.EndAll(context.Background()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("EndAll outside Run: %v", err)
	}
}

func TestLifetimeLimit(t *testing.T) {
	c, _ := begun(t)
	limit := int32(1)
	c.spawn("one", "k", spec(func(s *plane.Spec) { s.LifetimeLimit = &limit }))
	c.await("one", plane.Ready)
	if end := c.await("one", plane.Terminated); end.Reason != plane.Swept || end.Termination != plane.Soft {
		t.Errorf("ended as %+v", end)
	}
}

func TestTrap47_CommandsOfCallersNeedTheOperatorsWord(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	d.cfg.Commands = false
	d.begin()
	c.awaitLease(d)
	c.spawn("one", "k")
	if end := c.await("one", plane.Terminated); end.Exit.Message == "" || d.runtime.Starts("one") != 0 {
		t.Errorf("ended as %+v", end)
	}
	c.spawn("two", "k", func(s *wire.Spawn) { s.App = "board" })
	c.await("two", plane.Ready)
}
