package controller

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

func TestTrap03_StatusesOnlyRise(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	for round := range 5 {
		b := p.connectTo(keyed(fmt.Sprintf("doc-%d", round)))
		eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == round+1 })
		all := []plane.Status{plane.Loading, plane.Starting, plane.Waiting, plane.Ready, plane.Terminating, plane.Loading, plane.Ready}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		var seqs []int64
		for _, s := range append(all, plane.Terminated, plane.Ready) {
			seqs = append(seqs, d.say(b.BackendID, plane.State{Status: s})...)
		}
		for _, s := range seqs {
			eventually(t, "every report is acknowledged", func() bool { return d.acknowledged(s) })
		}
		last := 0
		err := p.Follow(t.Context(), b.BackendID, "", func(e StatusEntry) error {
			if e.Status.Order() <= last {
				t.Errorf("%s after order %d", e.Status, last)
			}
			last = e.Status.Order()
			return nil
		})
		if err != nil || last != plane.Terminated.Order() {
			t.Errorf("history ends at %d: %v", last, err)
		}
	}
}

func TestTrap16_ReplayKeepsTheOriginalTime(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	b := p.connectTo(keyed("doc"))
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 1 })
	started := p.clock.now()
	p.clock.step(20 * time.Second)
	s := d.spawned()[0]
	_ = d.conn.Send(wire.Statuses{Reports: []wire.Status{
		{Seq: 1, Backend: b.BackendID, Generation: s.Generation, State: plane.State{Status: plane.Loading}, AtMS: started.Add(time.Second).UnixMilli()},
		{Seq: 2, Backend: b.BackendID, Generation: s.Generation, State: plane.State{Status: plane.Ready, Address: "127.0.0.1:1"}, AtMS: started.Add(2 * time.Second).UnixMilli()},
		{Seq: 3, Backend: b.BackendID, Generation: s.Generation + 1, State: plane.State{Status: plane.Terminated}, AtMS: started.UnixMilli()},
	}})
	p.until(b.BackendID, plane.Ready)
	e, _ := p.Status(t.Context(), b.BackendID)
	if want := started.Add(2 * time.Second).UnixMilli(); e.Time != want {
		t.Errorf("time %d, want %d", e.Time, want)
	}
	eventually(t, "the report of another generation is acknowledged", func() bool { return d.acknowledged(3) })
	if got := p.statusOf(b.BackendID); got != plane.Ready {
		t.Errorf("the report of another generation made it %s", got)
	}
}

func TestStatusTime(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000).UTC()
	last := now.Add(-time.Minute)
	for _, c := range []struct{ at, want time.Time }{
		{now.Add(-time.Second), now.Add(-time.Second)},
		{now.Add(time.Hour), now},
		{last.Add(-time.Second), last},
		{now.Add(-24 * 365 * time.Hour), now}, // a clock that was never set
	} {
		if got := statusTime(c.at.UnixMilli(), last, now); !got.Equal(c.want) {
			t.Errorf("%v became %v, want %v", c.at, got, c.want)
		}
	}
}

func TestFollowGivesThePastThenTheRest(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1")
	b := p.connectTo(keyed("doc"))
	got := make(chan StatusEntry, 16)
	ended := make(chan error, 1)
	go func() {
		ended <- p.Follow(context.Background(), b.BackendID, plane.Scheduled, func(e StatusEntry) error { got <- e; return nil })
	}()
	p.until(b.BackendID, plane.Ready)
	if err := p.Terminate(t.Context(), operatorActor, b.BackendID, plane.Soft); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	close(got)
	var line []string
	for e := range got {
		line = append(line, string(e.Status))
		if e.Status == plane.Terminated && (e.ExitError == nil || !*e.ExitError || e.TerminationReason != plane.External) {
			t.Errorf("the end: %+v", e)
		}
	}
	if s := strings.Join(line, " "); s != "loading starting waiting ready terminating terminated" {
		t.Errorf("statuses: %s", s)
	}
	if err := p.Follow(t.Context(), "unknown", "", nil); !plane.IsKind(err, plane.NotFound) {
		t.Errorf("an unknown backend: %v", err)
	}
	_ = d
}

func TestTrap11_EndIsAcknowledgedAfterTheRouteIsWithdrawn(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	x := p.proxy("px-1")
	x.mu.Lock()
	x.silent = true
	x.mu.Unlock()
	b := p.connectTo(keyed("doc"))
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 1 })
	ready := d.say(b.BackendID, plane.State{Status: plane.Ready, Address: "127.0.0.1:1"})[0]
	eventually(t, "ready is acknowledged at once", func() bool { return d.acknowledged(ready) })
	end := d.say(b.BackendID, plane.State{Status: plane.Terminated})[0]
	eventually(t, "the proxy is told", func() bool { return x.route(b.BackendID).Status == plane.Terminated })
	again := d.say(b.BackendID, plane.State{Status: plane.Terminated})[0]
	time.Sleep(50 * time.Millisecond) // nothing may happen
	if d.acknowledged(end) || d.acknowledged(again) {
		t.Fatal("acknowledged while a proxy may still send to its address")
	}
	_ = x.conn.Send(wire.RouteGone{Backend: b.BackendID})
	eventually(t, "both are acknowledged", func() bool { return d.acknowledged(end) && d.acknowledged(again) })
}

func TestProxiesHearOfReadinessWhileItIsRecorded(t *testing.T) {
	hook := &pausing{}
	p := newPlant(t, plantOptions{wrap: func(s store.Store) store.Store { hook.Store = s; return hook }})
	d := p.drone("dr-1", manual)
	x := p.proxy("px-1")
	b := p.connectTo(keyed("doc"))
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 1 })
	recording := make(chan struct{})
	defer close(recording)
	hook.mu.Lock()
	hook.armed = func() { <-recording }
	hook.mu.Unlock()
	seq := d.say(b.BackendID, plane.State{Status: plane.Ready, Address: "127.0.0.1:1"})[0]
	eventually(t, "the proxy is told", func() bool {
		r := x.route(b.BackendID)
		return r.Status == plane.Ready && r.Address == "127.0.0.1:1"
	})
	if d.acknowledged(seq) || p.statusOf(b.BackendID) == plane.Ready {
		t.Error("what isn't recorded is acknowledged or shown")
	}
}

func TestProxyThatLeavesHoldsUpNoAcknowledgement(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	x := p.proxy("px-1")
	x.silent = true
	b := p.connectTo(keyed("doc"))
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 1 })
	end := d.say(b.BackendID, plane.State{Status: plane.Terminated})[0]
	eventually(t, "the proxy is told", func() bool { return x.route(b.BackendID).Status == plane.Terminated })
	x.end()
	eventually(t, "it is acknowledged", func() bool { return d.acknowledged(end) })
}

func TestCrashLoop(t *testing.T) {
	p := newPlant(t, plantOptions{})
	d := p.drone("dr-1", manual)
	crash := func(n int, reason plane.Reason) {
		t.Helper()
		b := p.connectTo(keyed("doc"))
		eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == n })
		code := 3
		d.say(b.BackendID, plane.State{Status: plane.Terminated, Reason: reason, Exit: &plane.Exit{Code: &code, Output: "boom"}})
		p.until(b.BackendID, plane.Terminated)
	}
	for i := range 4 {
		crash(i+1, "")
	}
	crash(5, plane.External) // asked for: doesn't count
	crash(6, "")
	_, err := p.Connect(t.Context(), operatorActor, keyed("doc"))
	if !plane.IsKind(err, plane.CrashLoop) || !strings.Contains(err.Error(), "exit code 3") {
		t.Fatalf("after five: %v", err)
	}
	why, _ := p.Explain(t.Context(), operatorActor, "", "doc")
	if why.Crash == nil || why.Crash.Count != 5 || why.Crash.Output != "boom" || why.Crash.RetryIn != 1 {
		t.Errorf("explained: %+v", why.Crash)
	}
	p.clock.step(1100 * time.Millisecond)
	crash(7, "")
	if _, err := p.Connect(t.Context(), operatorActor, keyed("doc")); !plane.IsKind(err, plane.CrashLoop) {
		t.Fatalf("after six: %v", err)
	}
	p.clock.step(2100 * time.Millisecond)
	b := p.connectTo(keyed("doc"))
	eventually(t, "the spawn arrives", func() bool { return len(d.spawned()) == 8 })
	d.say(b.BackendID, plane.State{Status: plane.Ready, Address: "127.0.0.1:1"})
	p.until(b.BackendID, plane.Ready)
	p.clock.step(61 * time.Second)
	d.renew()
	d.say(b.BackendID, plane.State{Status: plane.Terminated, Termination: plane.Soft, Reason: plane.Swept, Exit: &plane.Exit{}})
	p.until(b.BackendID, plane.Terminated)
	p.view(func(tx store.Tx) error {
		c, err := tx.Crash("", "doc")
		if c.Count != 0 {
			t.Errorf("a minute alive resets; count %d", c.Count)
		}
		return err
	})
}

func TestCrashPause(t *testing.T) {
	for count, want := range map[int]time.Duration{4: 0, 5: time.Second, 6: 2 * time.Second, 10: 32 * time.Second, 11: time.Minute, 1000: time.Minute} {
		if got := crashPause(count); got != want {
			t.Errorf("after %d: %v, want %v", count, got, want)
		}
	}
}
