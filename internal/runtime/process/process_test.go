package process_test

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/runtime"
)

// both runs a test with the best means of this system and with portable ones.
func both(t *testing.T, f func(t *testing.T, g *rig)) {
	for _, kind := range []string{"best", "portable"} {
		t.Run(kind, func(t *testing.T) {
			t.Setenv("PLANE_MEANS", kind)
			f(t, newRig(t))
		})
	}
}

func TestBackendRunsAndItsEndIsTold(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		p := g.start(g.unit("echo one; echo two >&2; exit 3", time.Minute))
		exit := g.wait(p)
		if exit.Code == nil || *exit.Code != 3 || exit.Output != "one\ntwo" {
			t.Fatalf("exit %+v", exit)
		}
		if n := len(g.Table().Entries()); n != 0 {
			t.Errorf("%d entries are left", n)
		}
		again := g.start(g.unitOf(p))
		if e := g.wait(again); e.Code == nil || *e.Code != 3 {
			t.Errorf("started again: %+v", e)
		}
		found, err := g.r.Found(g.Ctx())
		if err != nil || len(found) != 1 || found[0].Exit == nil {
			t.Errorf("found %+v, %v", found, err)
		}
		if err := p.Forget(g.Ctx()); err != nil {
			t.Error(err)
		}
		if _, err := g.r.Attach(g.Ctx(), "b1"); !errors.Is(err, runtime.ErrGone) {
			t.Errorf("attach to a forgotten one: %v", err)
		}
	})
}

// unitOf is the first unit again.
func (g *rig) unitOf(runtime.Process) runtime.Unit {
	g.n.Store(0)
	return g.unit("echo one; echo two >&2; exit 3", time.Minute)
}

func TestOutputIsKeptAndFollowed(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		u := g.unit("echo a; echo b; echo c; read x < "+g.Fifo("go")+"; echo d", time.Minute)
		p := g.start(u)
		g.Eventually("three lines", func() bool {
			r, err := g.r.Output(g.Ctx(), u.Backend, 0, false)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			b, err := io.ReadAll(r)
			return err == nil && string(b) == "a\nb\nc\n"
		})
		r, err := g.r.Output(g.Ctx(), u.Backend, 2, true)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		g.Open("go")
		b, err := io.ReadAll(r)
		if err != nil || string(b) != "b\nc\nd\n" {
			t.Errorf("followed %q, %v", b, err)
		}
		g.wait(p)
		if _, err := g.r.Output(g.Ctx(), "nobody", 0, false); !errors.Is(err, runtime.ErrGone) {
			t.Errorf("output of nobody: %v", err)
		}
	})
}

func TestBackendIgnoresNoSignalOfItsParents(t *testing.T) {
	g := newRig(t)
	p := g.start(g.unit("grep -E 'SigIgn|SigBlk' /proc/self/status", time.Minute))
	out := g.wait(p).Output
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		_, hex, _ := strings.Cut(line, ":")
		// Signals 32 and 33 are the C library's own and can't be had from it.
		const ofLibrary = 1<<31 | 1<<32
		if set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64); err != nil || set&^ofLibrary != 0 {
			t.Errorf("it starts with %s", out)
		}
	}
}

func TestTrap1_StopAfterStartAlwaysEnds(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 50 * time.Millisecond} {
			u := g.unit("sleep 60", time.Minute)
			var p runtime.Process
			done := make(chan error, 1)
			go func() {
				var err error
				p, err = g.r.Start(g.Ctx(), u)
				done <- err
			}()
			<-time.After(after)
			if after == 0 { // not even seen by the warden
				c, err := g.r.Connect(g.Ctx())
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Stop(g.Ctx(), u.Backend, plane.Hard)
			}
			err := <-done
			if after == 0 && errors.Is(err, runtime.ErrGone) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Stop(g.Ctx(), plane.Hard); err != nil && !errors.Is(err, runtime.ErrGone) {
				t.Fatal(err)
			}
			g.wait(p)
		}
	})
}

func TestTrap2_StoppingWhatIsGoneIsNoFailure(t *testing.T) {
	g := newRig(t)
	p := g.start(g.unit("exit 0", time.Minute))
	g.wait(p)
	for range 2 {
		if err := p.Stop(g.Ctx(), plane.Hard); !errors.Is(err, runtime.ErrGone) {
			t.Errorf("got %v", err)
		}
	}
}

// What a program leaves behind when it ends is made absent before its end is told.
func TestTrap53_WhatIsToldToHaveEndedIsGone(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		for range 5 {
			note := " & echo $! >>" + g.File("left") + "; "
			u := g.unit("setsid sleep 60"+note+"sleep 60"+note+"exit 0", time.Minute)
			g.wait(g.start(u))
			for _, pid := range strings.Fields(g.read("left")) {
				if n, err := strconv.Atoi(pid); err == nil && dronetest.Alive(n) {
					t.Fatalf("%s is told to have ended, but process %d of it lives", u.Backend, n)
				}
			}
		}
	})
}

func TestSoftStopReachesTheGroupOnceAndTheRestGetsItsGrace(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		u := g.unit(`sh -c 'trap "sleep 0.1; echo saved; exit 0" TERM; echo up; while :; do sleep 0.02; done' & wait`, time.Minute)
		u.Grace = 5 * time.Second
		p := g.start(u)
		g.Outputs(g.r, u.Backend, "up")
		for range 3 {
			if err := p.Stop(g.Ctx(), plane.Soft); err != nil && !errors.Is(err, runtime.ErrGone) {
				t.Fatal(err)
			}
		}
		if exit := g.wait(p); strings.Count(exit.Output, "saved") != 1 {
			t.Errorf("the child wasn't left to save: %+v", exit)
		}
	})
}

func TestDeadlineIsSigtermThenSigkill(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		u := g.unit(`trap 'echo term' TERM; echo up; while :; do sleep 0.02; done`, 1500*time.Millisecond)
		p := g.start(u)
		exit := g.wait(p)
		late := leaseNow().Sub(u.Deadline)
		if exit.Signal != "SIGKILL" || strings.Count(exit.Output, "term") != 1 {
			t.Errorf("exit %+v", exit)
		}
		if late < 0 || late > tolerance() {
			t.Errorf("gone %v after the deadline", late)
		}
	})
}

func TestExtendedDeadlineKeepsIt(t *testing.T) {
	g := newRig(t)
	u := g.unit("sleep 60", 2*time.Second)
	p := g.start(u)
	tb := g.Table()
	if n := tb.Extend(plane.Fast, 1, u.Deadline.Add(time.Minute)); n != 1 {
		t.Fatalf("extended %d", n)
	}
	for leaseNow() < u.Deadline.Add(200*time.Millisecond) {
		time.Sleep(10 * time.Millisecond)
	}
	if !dronetest.Alive(p.Pid()) {
		t.Fatal("killed at a deadline that was extended")
	}
	tb.Shorten(u.Backend, 0)
	g.wait(p)
}

func TestTrap8_StartAfterItsDeadlineIsRefused(t *testing.T) {
	g := newRig(t)
	if _, err := g.r.Start(g.Ctx(), g.unit("sleep 60", -time.Millisecond)); !errors.Is(err, runtime.ErrDead) {
		t.Errorf("got %v", err)
	}
}

func TestKeyRunsOnceOnThisMachine(t *testing.T) {
	g := newRig(t)
	a, b := g.unit("sleep 60", time.Minute), g.unit("sleep 60", time.Minute)
	b.Key = a.Key
	p := g.start(a)
	if _, err := g.r.Start(g.Ctx(), b); err == nil {
		t.Fatal("a second backend of the key")
	}
	if err := p.Stop(g.Ctx(), plane.Hard); err != nil {
		t.Fatal(err)
	}
	g.wait(p)
	g.start(b)
}

func TestStartErrorSaysHowToMendIt(t *testing.T) {
	g := newRig(t)
	u := g.unit("", time.Minute)
	u.Executable.Command = []string{"no-such-command"}
	for _, err := range []error{prepare(g, u), second(g.r.Start(g.Ctx(), u))} {
		if err == nil || !strings.Contains(err.Error(), "install it") {
			t.Errorf("got %v", err)
		}
	}
	if n := len(g.Table().Entries()); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

func second(_ runtime.Process, err error) error { return err }

func TestUsageAndListenersAreSeen(t *testing.T) {
	g := newRig(t)
	u := g.unit("sleep 60", time.Minute)
	u.Port = freePort(t)
	u.Executable.Listen = plane.ListenInherit
	p := g.start(u)
	use, err := p.(runtime.Meter).Usage(g.Ctx())
	if err != nil || use.Memory <= 0 {
		t.Errorf("usage %+v, %v", use, err)
	}
	owns, everywhere, known, err := p.(runtime.Listener).Listening(g.Ctx())
	if !owns || everywhere || !known || err != nil {
		t.Errorf("owns=%v everywhere=%v known=%v %v", owns, everywhere, known, err)
	}
}

func TestPartsLeaveWhenNobodyNeedsThem(t *testing.T) {
	t.Setenv("TEST_LEAVE", "200ms")
	g := newRig(t)
	p := g.start(g.unit("sleep 0.5", time.Minute))
	warden := g.Pid("warden")
	g.r.Close() // the agent is gone: the backend keeps them
	g.Eventually("the backend ends", func() bool { return !dronetest.Alive(p.Pid()) })
	g.Eventually("they leave", func() bool {
		_, w := g.home.Holder("warden")
		_, r := g.home.Holder("reaper")
		return !w && !r
	})
	q := g.start(g.unit("exit 0", time.Minute)) // and come back
	g.wait(q)
	if g.Pid("warden") == warden {
		t.Error("the same warden")
	}
	found, err := g.r.Found(g.Ctx())
	if err != nil || len(found) != 2 {
		t.Errorf("what ended before isn't remembered: %+v %v", found, err)
	}
}

func prepare(g *rig, u runtime.Unit) error {
	_, err := g.r.Prepare(g.Ctx(), u, func(runtime.Progress) {})
	return err
}
