package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/dockertest"
	"plane/internal/runtime"
)

// tolerance is how long after its deadline a backend may be gone: as long as the
// lease leaves for killing, so that a busy test machine is no failure.
const tolerance = 2400 * time.Millisecond

// gone waits until nothing of the backend runs, and looks how late that is.
func (g *rig) gone(p runtime.Process, u runtime.Unit) {
	g.t.Helper()
	g.eventually("it is gone", func() bool { return !alive(p.Pid()) && !g.marked(u.Backend) })
	if late := leaseNow().Sub(u.Deadline); late < -10*time.Millisecond || late > tolerance {
		g.t.Errorf("gone %v after the deadline", late)
	}
}

func TestTrap40_DeadlineIsKeptWhateverIsDead(t *testing.T) {
	for name, fault := range map[string]func(*rig) (mend func()){
		"the engine": func(g *rig) func() { g.engine.Kill9(g.t); return func() { g.engine.Restart(g.t) } },
		"the engine, which is stopped": func(g *rig) func() {
			g.engine.Freeze(g.t)
			return func() { g.engine.Thaw(g.t) }
		},
		"the warden, and the engine": func(g *rig) func() {
			g.engine.Freeze(g.t)
			w := g.kill("warden", syscall.SIGSTOP)
			return func() {
				_ = syscall.Kill(w, syscall.SIGCONT)
				g.engine.Thaw(g.t)
			}
		},
		"the warden, killed": func(g *rig) func() { g.kill("warden", syscall.SIGKILL); return func() {} },
		"the container, which is paused": func(g *rig) func() {
			g.docker("pause", containerOf(g.last.Load()))
			return func() {}
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel() // they do nothing but wait
			g := newRig(t)
			u := g.unit(2500*time.Millisecond, "stubborn", "say", "up", "sleep")
			p := g.start(u)
			g.outputs(u.Backend, "up")
			g.settled()
			mend := fault(g)
			defer mend()
			g.gone(p, u)
			mend()
			g.wait(p)
		})
	}
}

func containerOf(id any) string { return fmt.Sprint("plane-", id) }

// Trap 54: what an engine was asked before it was stopped it does when it wakes.
func TestTrap54_StartOfAStoppedEngineNeverRunsPastItsDeadline(t *testing.T) {
	g := newRig(t)
	// It has taken the start and is stopped before it can carry it out, at any
	// point of that.
	for i, after := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond} {
		u := g.unit(1200*time.Millisecond, "stubborn", "sleep")
		ctx, cancel := context.WithTimeout(g.ctx(), 500*time.Millisecond)
		done := make(chan error, 1)
		go func() {
			_, err := g.r.Start(ctx, u)
			done <- err
		}()
		<-time.After(after)
		g.engine.Freeze(t)
		began := time.Now()
		err := <-done
		cancel()
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("%d: the caller gave up after %v", i, d)
		}
		g.eventually("its deadline passes", func() bool { return leaseNow() > u.Deadline.Add(100*time.Millisecond) })
		g.engine.Thaw(t)
		g.eventually("nothing of it is left", func() bool {
			if g.marked(u.Backend) {
				return false
			}
			found, err := g.r.Found(g.ctx())
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				p, err := g.r.Attach(g.ctx(), f.Backend)
				if err != nil {
					continue
				}
				if _, err := p.Wait(g.ctx()); err != nil && !errors.Is(err, runtime.ErrGone) { // it is cleared and forgotten meanwhile
					t.Fatal(err)
				}
				_ = p.Forget(g.ctx())
			}
			return len(found) == 0
		})
		if g.marked(u.Backend) {
			t.Errorf("%d: it runs", i)
		}
		t.Logf("stopped %v after the start was asked: %v", after, err)
	}
}

func TestTrap54_StartThatIsGivenUpNeverRuns(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "stubborn", "sleep")
	again := g.unit(time.Minute, "sleep")
	again.Key = u.Key
	g.start(g.unit(time.Minute, "sleep")) // so that everything is connected
	g.engine.Freeze(t)
	ctx, cancel := context.WithTimeout(g.ctx(), 300*time.Millisecond)
	defer cancel()
	if _, err := g.r.Start(ctx, u); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := g.r.Start(g.ctx(), again); err == nil {
		t.Error("its key is free, though it isn't known what the engine will do")
	}
	g.engine.Thaw(t)
	g.eventually("its key is free", func() bool {
		p, err := g.r.Start(g.ctx(), again)
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
			e := dockertest.Start(t, dockertest.Options{Flags: []string{flag}})
			e.Load(t, image(t), "server:latest")
			g := newRigAt(t, e)
			u := g.unit(time.Minute, "count", "sleep")
			p := g.start(u)
			ends := g.unit(time.Minute, "say", "bye", "sleep")
			q := g.start(ends)
			r, err := g.r.Output(g.ctx(), u.Backend, 0, true)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			lines := follow(t, r)
			g.outputs(ends.Backend, "bye")
			waited := make(chan plane.Exit, 2)
			go func() { waited <- g.wait(q) }()
			e.Kill9(t)
			if !alive(p.Pid()) {
				t.Fatal("it died with the engine")
			}
			began := time.Now()
			_ = q.Stop(g.ctx(), plane.Hard)
			exit := <-waited
			t.Logf("ended without the engine: %+v after %v", exit, time.Since(began))
			if (exit.Code == nil || *exit.Code != 137) && exit.Message == "" {
				t.Errorf("exit %+v", exit)
			}
			e.Restart(t)
			if flag == "--live-restore" {
				before := lines()
				g.eventually("its output goes on", func() bool { return lines() > before+10 })
				if !alive(p.Pid()) {
					t.Fatal("it died with the restart")
				}
				_ = p.Stop(g.ctx(), plane.Hard)
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
	g.settled()
	g.r.Close()
	old := g.kill("warden", syscall.SIGKILL)
	g.replaced("warden", old)
	g.engine.Freeze(t) // found without it
	g.r = g.runtime()
	found, err := g.r.Found(g.ctx())
	if err != nil || len(found) != 1 || found[0].Pid != p.Pid() || found[0].Address != p.Address() {
		t.Fatalf("found %+v, %v", found, err)
	}
	g.engine.Thaw(t)
	q, err := g.r.Attach(g.ctx(), u.Backend)
	if err != nil || q.Pid() != p.Pid() || !alive(p.Pid()) {
		t.Fatalf("%v", err)
	}
	_ = q.Stop(g.ctx(), plane.Hard)
	if exit := g.wait(q); exit.Signal != "SIGKILL" {
		t.Errorf("exit %+v", exit)
	}
}

func TestFiftyStartsWithRandomDeathsLeaveNothing(t *testing.T) {
	if os.Getenv("PLANE_SOAK") == "" {
		t.Skip("counts what the whole machine has, so it runs alone: PLANE_SOAK=1, as make soak does")
	}
	g := newRig(t)
	g.wait(g.start(g.unit(time.Minute, "exit", "0")))
	before := g.leavings()
	stop := make(chan struct{})
	var chaos sync.WaitGroup
	chaos.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(300+rand.IntN(500)) * time.Millisecond):
			}
			switch rand.IntN(3) {
			case 0:
				g.engine.Restart(t)
			case 1:
				g.engine.Freeze(t)
				time.Sleep(50 * time.Millisecond) // it stays so for a while
				g.engine.Thaw(t)
			case 2:
				g.replaced("warden", g.kill("warden", syscall.SIGKILL))
			}
		}
	})
	var work sync.WaitGroup
	for w := range 5 {
		work.Go(func() {
			for i := range 10 {
				u := g.unit(20*time.Second, "stubborn", "sleep")
				if (w+i)%3 == 0 {
					u.Executable.Command = []string{"/server", "say", "x", "exit", "3"}
				}
				p, err := g.r.Start(g.ctx(), u)
				if err != nil {
					continue // refused while it was dead: cleared by itself
				}
				if (w+i)%3 != 0 {
					_ = p.Stop(g.ctx(), plane.Hard)
				}
				if _, err := p.Wait(g.ctx()); err != nil {
					t.Errorf("%s: %v", u.Backend, err)
				}
				_ = p.Forget(g.ctx())
			}
		})
	}
	work.Wait()
	close(stop)
	chaos.Wait()
	g.eventually("nothing is left", func() bool {
		if err := g.r.Prune(g.ctx()); err != nil {
			return false
		}
		found, err := g.r.Found(g.ctx())
		if err != nil {
			return false
		}
		for _, f := range found { // those whose start's answer was lost
			if p, err := g.r.Attach(g.ctx(), f.Backend); err == nil {
				_ = p.Stop(g.ctx(), plane.Hard)
				_, _ = p.Wait(g.ctx())
				_ = p.Forget(g.ctx())
			}
		}
		after := g.leavings()
		if after != before {
			t.Logf("still %s; before %s", after, before)
			time.Sleep(200 * time.Millisecond) // shims take their time
		}
		return after == before
	})
}
