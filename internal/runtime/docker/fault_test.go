package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/dockertest"
	"plane/internal/drone/dronetest"
	"plane/internal/runtime"
)

// tolerance is how long after its deadline a backend may be gone: as long as the
// lease leaves for killing, so that a busy test machine is no failure.
const tolerance = 2400 * time.Millisecond

// gone waits until nothing of the backend runs, and looks how late that is.
func (g *rig) gone(p runtime.Process, u runtime.Unit) {
	g.t.Helper()
	g.Eventually("it is gone", func() bool { return !dronetest.Alive(p.Pid()) && !g.marked(u.Backend) })
	if late := leaseNow().Sub(u.Deadline); late < -10*time.Millisecond || late > tolerance {
		g.t.Errorf("gone %v after the deadline", late)
	}
}

func TestTrap40_DeadlineIsKeptWhateverIsDead(t *testing.T) {
	e := engine(t)
	for what, fault := range map[string][2]func(dockertest.TB){
		"the engine is killed":  {e.Kill9, e.Restart},
		"the engine is stopped": {e.Freeze, e.Thaw},
	} {
		t.Run(strings.ReplaceAll(what, " ", "_"), func(t *testing.T) {
			var rigs [4]*rig
			for i := range rigs {
				rigs[i] = newRig(t)
			}
			life := 3 * time.Second
			for !deadlines(t, rigs, life, fault[0], fault[1]) {
				life *= 2 // for a busy machine
			}
		})
	}
}

// deadlines looks whether one backend of each rig is gone at its deadline, with
// a fault and what fails beside it. It is false if the deadlines were too early
// for that.
func deadlines(t *testing.T, rigs [4]*rig, life time.Duration, fault, mend func(dockertest.TB)) bool {
	var units [4]runtime.Unit
	var processes [4]runtime.Process
	var ready, all sync.WaitGroup
	for i, g := range rigs {
		units[i] = g.unit(life, "stubborn", "say", "up", "sleep")
		ready.Go(func() {
			if processes[i], _ = g.r.Start(g.Ctx(), units[i]); processes[i] != nil {
				g.Outputs(g.r, units[i].Backend, "up")
				g.Settled()
			}
		})
	}
	ready.Wait()
	// Beside the engine, with one of them each: nothing,
	_, err := rigs[1].dockerSays("pause", containerOf(units[1].Backend))
	old := rigs[2].Signal("warden", syscall.SIGKILL)
	stopped := rigs[3].Signal("warden", syscall.SIGSTOP)
	fault(t)
	inTime := err == nil && leaseNow() < units[0].Deadline && !slices.Contains(processes[:], nil)
	for i, g := range rigs {
		if processes[i] != nil && inTime {
			all.Go(func() { g.gone(processes[i], units[i]) })
		}
	}
	all.Wait()
	_ = syscall.Kill(stopped, syscall.SIGCONT)
	mend(t)
	rigs[2].Replaced("warden", old)
	for i, g := range rigs {
		if processes[i] != nil {
			g.wait(processes[i])
		}
	}
	return inTime
}

func containerOf(id plane.BackendID) string { return "plane-" + string(id) }

// Trap 54: what an engine was asked before it was stopped it does when it wakes.
func TestTrap54_StartOfAStoppedEngineNeverRunsPastItsDeadline(t *testing.T) {
	g := newRig(t)
	g.wait(g.start(g.unit(time.Minute, "exit", "0"))) // so that everything is connected
	// It has taken starts and is stopped before it can carry them out, at any
	// point of that.
	points := []time.Duration{0, 2 * time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond, 200 * time.Millisecond}
	freeze := time.Now().Add(points[len(points)-1])
	var units []runtime.Unit
	var starts sync.WaitGroup
	for _, before := range points {
		u := g.unit(1500*time.Millisecond, "stubborn", "sleep")
		units = append(units, u)
		starts.Go(func() {
			<-time.After(time.Until(freeze.Add(-before)))
			ctx, cancel := context.WithTimeout(g.Ctx(), 700*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := g.r.Start(ctx, u)
			if d := time.Since(began); d > 3*time.Second {
				t.Errorf("%v before: the caller gave up after %v", before, d)
			}
			t.Logf("stopped %v after the start was asked: %v", before, err)
		})
	}
	<-time.After(time.Until(freeze))
	g.engine.Freeze(t)
	starts.Wait()
	g.Eventually("their deadlines pass", func() bool { return leaseNow() > units[len(units)-1].Deadline.Add(100*time.Millisecond) })
	g.engine.Thaw(t)
	running := func() bool {
		return slices.ContainsFunc(units, func(u runtime.Unit) bool { return g.marked(u.Backend) })
	}
	g.Eventually("nothing of them is left", func() bool { return !running() && g.swept() })
	if running() {
		t.Error("one runs")
	}
}

// swept ends and forgets what the runtime has, and reports whether that was nothing.
func (g *rig) swept() bool {
	g.t.Helper()
	found, err := g.r.Found(g.Ctx())
	if err != nil {
		return false
	}
	for _, f := range found {
		p, err := g.r.Attach(g.Ctx(), f.Backend)
		if err != nil {
			continue // it is cleared and forgotten meanwhile
		}
		_ = p.Stop(g.Ctx(), plane.Hard)
		if _, err := p.Wait(g.Ctx()); err != nil && !errors.Is(err, runtime.ErrGone) {
			g.t.Fatal(err)
		}
		_ = p.Forget(g.Ctx())
	}
	return len(found) == 0
}

func TestTrap54_StartThatIsGivenUpNeverRuns(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "stubborn", "sleep")
	again := g.unit(time.Minute, "sleep")
	again.Key = u.Key
	g.start(g.unit(time.Minute, "sleep")) // so that everything is connected
	g.engine.Freeze(t)
	ctx, cancel := context.WithTimeout(g.Ctx(), 300*time.Millisecond)
	defer cancel()
	if _, err := g.r.Start(ctx, u); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := g.r.Start(g.Ctx(), again); err == nil {
		t.Error("its key is free, though it isn't known what the engine will do")
	}
	g.engine.Thaw(t)
	g.Eventually("its key is free", func() bool {
		p, err := g.r.Start(g.Ctx(), again)
		return err == nil && p.Pid() != 0
	})
	if g.marked(u.Backend) {
		t.Error("it runs")
	}
}

// An engine that is killed and started again, with and without the setting by
// which containers survive that.
func TestTrap40_EngineIsKilledAndStartedAgain(t *testing.T) {
	for _, flag := range []string{"--live-restore", "--live-restore=false"} {
		t.Run(flag, func(t *testing.T) {
			e := engine(t) // which hasn't got it
			if flag == "--live-restore" {
				e = dockertest.Start(t, dockertest.Options{Flags: []string{flag}})
				e.Load(t, image(t), "server:latest")
			}
			g := newRigAt(t, e)
			u := g.unit(time.Minute, "count", "sleep")
			p := g.start(u)
			ends := g.unit(time.Minute, "say", "bye", "sleep")
			q := g.start(ends)
			r, err := g.r.Output(g.Ctx(), u.Backend, 0, true)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			lines := follow(t, r)
			g.Outputs(g.r, ends.Backend, "bye")
			waited := make(chan plane.Exit, 2)
			go func() { waited <- g.wait(q) }()
			e.Kill9(t)
			if !dronetest.Alive(p.Pid()) {
				t.Fatal("it died with the engine")
			}
			began := time.Now()
			_ = q.Stop(g.Ctx(), plane.Hard)
			exit := <-waited
			t.Logf("ended without the engine: %+v after %v", exit, time.Since(began))
			if (exit.Code == nil || *exit.Code != 137) && exit.Message == "" {
				t.Errorf("exit %+v", exit)
			}
			e.Restart(t)
			if flag == "--live-restore" {
				before := lines()
				g.Eventually("its output goes on", func() bool { return lines() > before+10 })
				if !dronetest.Alive(p.Pid()) {
					t.Fatal("it died with the restart")
				}
				_ = p.Stop(g.Ctx(), plane.Hard)
			}
			exit = g.wait(p)
			t.Logf("the other: %+v", exit)
		})
	}
}

// follow reads lines "line N", which must have no gap and none twice, and tells
// how many there are.
func follow(t *testing.T, r io.Reader) (count func() int) {
	var mu sync.Mutex
	n := 0
	go func() {
		buf := make([]byte, 4096)
		rest := ""
		for {
			k, err := r.Read(buf)
			rest += string(buf[:k])
			for {
				line, after, ok := strings.Cut(rest, "\n")
				if !ok {
					break
				}
				rest = after
				mu.Lock()
				if want := fmt.Sprintf("line %d", n); line != want {
					t.Errorf("%q comes in place of %q", line, want)
					n = -1 << 30
				}
				n++
				mu.Unlock()
			}
			if err != nil {
				return
			}
		}
	}()
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func TestContainersOutliveAgentAndWarden(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "stubborn", "sleep")
	p := g.start(u)
	g.Settled()
	g.r.Close()
	old := g.Signal("warden", syscall.SIGKILL)
	g.Replaced("warden", old)
	g.engine.Freeze(t) // found without it
	g.r = g.runtime()
	found, err := g.r.Found(g.Ctx())
	if err != nil || len(found) != 1 || found[0].Pid != p.Pid() || found[0].Address != p.Address() {
		t.Fatalf("found %+v, %v", found, err)
	}
	g.engine.Thaw(t)
	q, err := g.r.Attach(g.Ctx(), u.Backend)
	if err != nil || q.Pid() != p.Pid() || !dronetest.Alive(p.Pid()) {
		t.Fatalf("%v", err)
	}
	_ = q.Stop(g.Ctx(), plane.Hard)
	if exit := g.wait(q); exit.Signal != "SIGKILL" {
		t.Errorf("exit %+v", exit)
	}
}

// cycles is how many starts and ends TestStartsWithRandomDeathsLeaveNothing has.
func cycles() int {
	if n, err := strconv.Atoi(os.Getenv("PLANE_SOAK_CYCLES")); err == nil {
		return n
	}
	if os.Getenv("PLANE_SOAK") != "" {
		return 1000
	}
	return 50
}

func TestStartsWithRandomDeathsLeaveNothing(t *testing.T) {
	g := newRig(t)
	g.wait(g.start(g.unit(time.Minute, "exit", "0")))
	g.Eventually("all is connected, and nothing more", g.swept)
	before := g.leavings()
	begun := make(chan struct{}) // with every start
	var chaos, work sync.WaitGroup
	var deaths [3]int
	chaos.Go(func() {
		for starts := 1; ; starts++ {
			if _, more := <-begun; !more {
				return
			}
			if starts%4 != 0 {
				continue
			}
			// Some time in the life of that one, and of those beside it.
			<-time.After(time.Duration(rand.IntN(400)) * time.Millisecond)
			what := rand.IntN(len(deaths))
			deaths[what]++
			switch what {
			case 0:
				g.engine.Restart(t)
			case 1:
				g.engine.Freeze(t)
				<-time.After(time.Duration(rand.IntN(100)) * time.Millisecond)
				g.engine.Thaw(t)
			case 2:
				g.Replaced("warden", g.Signal("warden", syscall.SIGKILL))
			}
		}
	})
	var refused atomic.Int32
	const workers = 5
	for w := range workers {
		work.Go(func() {
			for i := range cycles() / workers {
				begun <- struct{}{}
				if !g.cycle(w + i) {
					refused.Add(1)
				}
			}
		})
	}
	work.Wait()
	close(begun)
	chaos.Wait()
	t.Logf("%d starts, %d of them refused; engine killed %d times, stopped %d times, warden killed %d times", cycles(), refused.Load(), deaths[0], deaths[1], deaths[2])
	var left []string
	g.t.Cleanup(func() {
		if t.Failed() {
			t.Logf("left: %s", strings.Join(left, "\n"))
		}
	})
	g.Eventually("nothing is left", func() bool {
		if g.r.Prune(g.Ctx()) != nil || !g.swept() {
			return false
		}
		left = slices.DeleteFunc(g.leavings(), func(s string) bool { return slices.Contains(before, s) })
		return len(left) == 0
	})
	t.Logf("left by engines that were killed: %s", g.lost())
}

// cycle starts a backend, and ends it unless it ends by itself. It reports
// whether it was started: what is refused is cleared by itself.
func (g *rig) cycle(n int) bool {
	u := g.unit(20*time.Second, "stubborn", "sleep")
	ends := n%3 == 0
	if ends {
		u.Executable.Command = []string{"/server", "say", "x", "exit", "3"}
	}
	defer os.RemoveAll(u.Doors) // as the agent does
	p, err := g.r.Start(g.Ctx(), u)
	if err != nil {
		return false
	}
	if !ends {
		_ = p.Stop(g.Ctx(), plane.Hard)
	}
	if _, err := p.Wait(g.Ctx()); err != nil {
		g.t.Errorf("%s: %v", u.Backend, err)
	}
	_ = p.Forget(g.Ctx())
	return true
}
