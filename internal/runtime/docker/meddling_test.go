package docker_test

import (
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/runtime"
)

// told ends a backend and gives its exit, and how long after its death that was
// known.
func (g *rig) told(p runtime.Process, end func()) (plane.Exit, time.Duration) {
	g.t.Helper()
	known := make(chan time.Time, 1)
	var exit plane.Exit
	go func() {
		exit = g.wait(p)
		known <- time.Now()
	}()
	go end()
	g.Eventually("it is dead", func() bool { return !dronetest.Alive(p.Pid()) })
	dead := time.Now()
	return exit, max((<-known).Sub(dead), 0)
}

// meddled: what others do to a container is told, and holds nothing up.
func meddled(t *testing.T) {
	g := newRig(t)
	for name, c := range map[string]struct {
		program []string
		do      func(string)
		want    string
		code    int
	}{
		"kill":                           {[]string{"sleep"}, func(c string) { g.docker("kill", c) }, "Somebody sent its container SIGKILL through the Docker engine.", 137},
		"kill by a signal that it takes": {[]string{"signal"}, func(c string) { g.docker("kill", "-s", "INT", c) }, "Somebody sent its container SIGINT through the Docker engine.", 0},
		"stop":                           {[]string{"sleep"}, func(c string) { g.docker("stop", c) }, "", 0},
		"stop, stubborn":                 {[]string{"stubborn", "sleep"}, func(c string) { g.docker("stop", "-t", "1", c) }, "", 137},
	} {
		p := g.start(g.unit(time.Minute, append([]string{"say", "up"}, c.program...)...))
		g.Outputs(g.r, backend(p), "up")
		exit, _ := g.told(p, func() { c.do(containerOf(backend(p))) })
		if exit.Code == nil || *exit.Code != c.code || !strings.HasPrefix(exit.Message, "Somebody s") || c.want != "" && exit.Message != c.want {
			t.Errorf("%s: %+v", name, exit)
		}
	}
	// Removed before anybody could ask how it ended.
	p := g.start(g.unit(time.Minute, "stubborn", "sleep"))
	exit, _ := g.told(p, func() { g.docker("rm", "-f", containerOf(backend(p))) })
	if exit.Message != "Its container was removed by somebody else; its exit code isn't known." && exit.Message != "Somebody sent its container SIGKILL through the Docker engine." {
		t.Errorf("removed: %+v", exit)
	}
	// Not by others: what Plane does, and what it does itself.
	for _, args := range [][]string{{"sleep"}, {"exit", "3"}} {
		p := g.start(g.unit(time.Minute, args...))
		_ = p.Stop(g.Ctx(), plane.Soft)
		if exit := g.wait(p); exit.Message != "" {
			t.Errorf("%v: %+v", args, exit)
		}
	}
}

// paused: a container that somebody pauses can be ended, softly too.
func paused(t *testing.T) {
	g := newRig(t)
	for kind, want := range map[plane.StopKind]string{plane.Soft: "bye", plane.Hard: "serves"} {
		u := g.unit(time.Minute)
		p := g.start(u)
		g.Outputs(g.r, u.Backend, "serves")
		g.docker("pause", containerOf(u.Backend))
		exit, _ := g.told(p, func() { _ = p.Stop(g.Ctx(), kind) })
		if exit.Message != "Somebody had paused its container through the Docker engine." || !strings.HasSuffix(exit.Output, want) {
			t.Errorf("%s: %+v", kind, exit)
		}
	}
}

// startedAgain: a container never lives twice.
func startedAgain(t *testing.T) {
	g := newRig(t)
	for _, first := range []string{"somebody", "us"} {
		u := g.unit(time.Minute, "stubborn", "sleep")
		if first == "somebody" {
			u.Doors = "" // without which nothing is started again
		}
		p := g.start(u)
		var exit plane.Exit
		if first == "somebody" {
			g.docker("restart", "-t", "0", containerOf(u.Backend))
			exit = g.wait(p)
		} else {
			exit, _ = g.told(p, func() { _, _ = g.dockerSays("restart", "-t", "0", containerOf(u.Backend)) })
		}
		if !strings.Contains(exit.Message, "omebody") {
			t.Errorf("%s first: %+v", first, exit)
		}
		if _, err := g.dockerSays("start", containerOf(u.Backend)); err == nil {
			t.Error("it can be started again")
		}
		if g.marked(u.Backend) {
			t.Errorf("%s first: it runs", first)
		}
	}
}

// seenSoon: ends are known within 200 ms of the death, where the machine isn't
// too busy for that every time.
func seenSoon(t *testing.T) {
	g := newRig(t)
	limit := int64(32 << 20)
	for name, c := range map[string]struct {
		program []string
		end     func(runtime.Process)
	}{
		"killed":        {[]string{"sleep"}, func(p runtime.Process) { _ = p.Stop(g.Ctx(), plane.Hard) }},
		"ended":         {[]string{"sleep"}, func(p runtime.Process) { _ = p.Stop(g.Ctx(), plane.Soft) }},
		"out of memory": {[]string{"signal", "eat", "200", "sleep"}, func(p runtime.Process) { g.docker("kill", "-s", "USR2", containerOf(backend(p))) }},
	} {
		best := time.Hour
		for range 10 {
			u := g.unit(time.Minute, c.program...)
			u.Executable.Limits.MemoryLimitBytes = &limit
			p := g.start(u)
			exit, after := g.told(p, func() { c.end(p) })
			if best = min(best, after); name == "out of memory" && !exit.OOM {
				t.Errorf("%s: %+v", name, exit)
			}
			if best <= 200*time.Millisecond {
				break
			}
		}
		t.Logf("%s: told %v after its death", name, best)
		if best > 200*time.Millisecond {
			t.Errorf("%s: told %v after its death", name, best)
		}
	}
}

// backend is whose process it is.
func backend(p runtime.Process) plane.BackendID {
	a, _ := plane.ParseGateAddress(p.Address())
	return a.Backend
}
