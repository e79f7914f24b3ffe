package warden_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
)

// both runs a test with the best means of this system and with portable ones.
func both(t *testing.T, f func(t *testing.T, g *rig)) {
	for _, kind := range []string{"best", means.Portable} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, rigWith(t, kind))
		})
	}
}

func TestTheFirstProcessOfALaunchIsTheWardens(t *testing.T) {
	g := newRig(t)
	o := g.launched(time.Minute, "echo launching", "echo up; read x < "+g.Fifo("go")+"; exit 7")
	o.Executable.Limits.OpenFilesLimit = ptr(int64(64))
	o.Launch.Argv[2] = "ulimit -n > " + g.File("limit") + "\n" + o.Launch.Argv[2]
	r := g.start(o)
	if again := g.start(o); again.Pid != r.Pid || r.Pid == 0 {
		t.Errorf("started as %d, then as %d", r.Pid, again.Pid)
	}
	if n := g.appears("limit"); n == "64" {
		t.Error("a limit of the backend holds for its launcher")
	}
	g.Outputs(g.line, o.Backend, "up")
	g.Open("go")
	if exit := g.wait(o.Backend); exit.Code == nil || *exit.Code != 7 || exit.Output != "launching\nup" {
		t.Errorf("exit %+v", exit)
	}
	if b := g.found()[o.Backend]; b.Runtime != plane.RuntimeOCI || b.Exit == nil {
		t.Errorf("found %+v", b)
	}
	if n := len(g.Table().Entries()); n != 0 {
		t.Errorf("%d entries are left", n)
	}
}

func TestALauncherThatFailsTellsWhy(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, g *rig) {
		for script, want := range map[string]string{
			"echo no such image >&2; exit 1":         "no such image",
			"exit 3":                                 "said nothing",
			"setsid sleep 60 & exit 0":               "left no process",
			"echo x > PID; exit 0":                   "left no process",
			"setsid sleep 60 & echo $! > PID; false": "said nothing",
		} {
			o := g.order(time.Minute)
			o.Launch = launch(g.home, string(o.Backend), "", "")
			o.Launch.Argv = []string{"/bin/sh", "-c", strings.ReplaceAll(script, "PID", o.Launch.PidFile)}
			_, err := g.tryStart(g.Ctx(), o)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", script, err)
			}
			if left := g.marked(string(o.Backend)); len(left) > 0 {
				t.Errorf("%s: processes %v are left", script, left)
			}
			if n := len(g.Table().Entries()); n != 0 {
				t.Errorf("%s: %d entries are left", script, n)
			}
		}
		if left := g.groups(); len(left) > 0 {
			t.Errorf("cgroups %v are left", left)
		}
	})
}

// hangs is a launcher that has made something and then doesn't end.
func (g *rig) hangs(life time.Duration) warden.Order {
	o := g.order(life)
	o.Launch = launch(g.home, string(o.Backend), "trap '' TERM; setsid sleep 60 & echo up > "+g.File("launching")+"; sleep 60", "sleep 60")
	return o
}

func TestALaunchThatIsGivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, g *rig) {
		o := g.hangs(time.Minute)
		ctx, cancel := context.WithCancel(g.Ctx())
		done := make(chan error, 1)
		go func() {
			_, err := g.tryStart(ctx, o)
			done <- err
		}()
		g.appears("launching")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		g.Eventually("nothing of it is left", func() bool {
			return len(g.marked(string(o.Backend))) == 0 && len(g.Table().Entries()) == 0
		})
		next := g.launched(time.Minute, "", "exit 0")
		next.Key = o.Key
		g.start(next)
	})
}

// The deadline of a launch is kept by whoever still can.
func TestTheDeadlineHoldsDuringALaunch(t *testing.T) {
	t.Parallel()
	for _, stopped := range []string{"", "warden", "reaper"} {
		t.Run("stopped="+stopped, func(t *testing.T) {
			both(t, func(t *testing.T, g *rig) {
				g.client()
				g.Settled()
				o := g.hangs(1500 * time.Millisecond)
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					_, _ = g.tryStart(g.Ctx(), o)
				}()
				g.appears("launching")
				if stopped != "" {
					pid := g.Signal(stopped, syscall.SIGSTOP)
					defer func() { _ = syscall.Kill(pid, syscall.SIGCONT); <-gone }()
				}
				g.Eventually("it is gone", func() bool { return len(g.marked(string(o.Backend))) == 0 })
				if late := now().Sub(o.Deadline); late < -5*time.Millisecond || late > tolerance {
					t.Errorf("gone %v after the deadline", late)
				}
			})
		})
	}
}

func TestALaunchOutlivesNoWarden(t *testing.T) {
	t.Parallel()
	for _, killed := range [][]string{{"warden"}, {"reaper", "warden"}} {
		both(t, func(t *testing.T, g *rig) {
			g.client()
			g.Settled()
			o := g.hangs(time.Minute)
			done := make(chan warden.Running, 1)
			go func() {
				r, err := g.tryStart(g.Ctx(), o)
				if err != nil {
					t.Errorf("asked again: %v", err)
				}
				done <- r
			}()
			g.appears("launching")
			g.kill(killed...)
			if r := <-done; r.Exit == nil || r.Exit.Message == "" {
				r.Exit = ptr(g.wait(o.Backend))
				if r.Exit.Message == "" {
					t.Errorf("exit %+v", r.Exit)
				}
			}
			if left := g.marked(string(o.Backend)); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
		})
	}
}

func TestALaunchOutlivesTheReaper(t *testing.T) {
	g := newRig(t)
	g.client()
	g.Settled()
	o := g.launched(time.Minute, "echo up > "+g.File("launching")+"; read x < "+g.Fifo("go"), "echo there; sleep 60")
	done := make(chan warden.Running, 1)
	go func() {
		r, err := g.tryStart(g.Ctx(), o)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	g.appears("launching")
	g.kill("reaper")
	g.Open("go")
	if r := <-done; !dronetest.Alive(r.Pid) {
		t.Errorf("started %+v", r)
	}
	g.Outputs(g.line, o.Backend, "there")
}

func TestWhatWasLaunchedOutlivesThePartsInTurn(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, g *rig) {
		o := g.launched(time.Minute, "", "echo up; read x < "+g.Fifo("go")+"; echo more; exit 9")
		r := g.start(o)
		g.Outputs(g.line, o.Backend, "up")
		for _, part := range []string{"warden", "reaper", "warden", "warden"} {
			g.kill(part)
			if b := g.found()[o.Backend]; b.Pid != r.Pid || b.Runtime != plane.RuntimeOCI || !dronetest.Alive(r.Pid) {
				t.Fatalf("after the death of the %s: %+v", part, b)
			}
		}
		g.Open("go")
		if exit := g.wait(o.Backend); exit.Output != "up\nmore" {
			t.Errorf("exit %+v", exit)
		}
	})
}

func TestTheExitStatusOfWhatWasLaunchedIsInherited(t *testing.T) {
	g := newRig(t)
	o := g.launched(time.Minute, "", "read x < "+g.Fifo("go")+"; exit 9")
	g.start(o)
	g.kill("warden")
	g.Open("go")
	if exit := g.wait(o.Backend); exit.Code == nil || *exit.Code != 9 {
		t.Errorf("exit %+v", exit)
	}
}

// The first process of a container leads a group, or doesn't.
func TestASoftStopReachesTheFirstProcess(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, g *rig) {
		for _, how := range []string{"setsid ", ""} {
			o := g.launched(time.Minute, "", "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.02; done")
			o.Launch.Argv[2] = strings.Replace(o.Launch.Argv[2], "setsid ", how, 1)
			o.Grace = 10 * time.Second
			g.start(o)
			g.Outputs(g.line, o.Backend, "up")
			g.stop(o.Backend, plane.Soft)
			if exit := g.wait(o.Backend); exit.Signal != "" || !strings.HasSuffix(exit.Output, "saved") {
				t.Errorf("with %q: exit %+v", how, exit)
			}
		}
	})
}

func TestWhatWasLaunchedDiesForItsMemoryLimit(t *testing.T) {
	g := newRig(t)
	o := g.launched(time.Minute, "", "x=xxxxxxxx; while :; do x=$x$x; done")
	o.Executable.Limits.MemoryLimitBytes = ptr(int64(16 << 20))
	_, warnings, err := g.client().Start(g.Ctx(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Skip(warnings)
	}
	if exit := g.wait(o.Backend); !exit.OOM || exit.Signal != "SIGKILL" {
		t.Errorf("exit %+v", exit)
	}
}

func TestADeadlineEndsWhatWasLaunched(t *testing.T) {
	t.Parallel()
	for _, stopped := range []string{"warden", "reaper"} {
		both(t, func(t *testing.T, g *rig) {
			o := g.launched(2*time.Second, "", "trap '' TERM; setsid sleep 61 & echo $! > "+g.File("child")+"; while :; do sleep 0.05; done")
			r := g.start(o)
			child, _ := strconv.Atoi(g.appears("child"))
			g.Settled()
			pid := g.Signal(stopped, syscall.SIGSTOP)
			defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
			g.gone(r.Pid)
			g.gone(child)
			if late := now().Sub(o.Deadline); late < -5*time.Millisecond || late > tolerance {
				t.Errorf("gone %v after the deadline", late)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }
