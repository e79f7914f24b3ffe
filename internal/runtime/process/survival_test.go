package process_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/means"
	"plane/internal/runtime"
)

// talker writes a number about every 10 ms and says so if it can't.
const talker = `trap 'echo sigpipe >> F; exit 9' PIPE; echo up; i=0; while :; do i=$((i+1)); echo $i || echo broken >> F; echo $i > N; sleep 0.01; done`

func (g *rig) talker(life time.Duration) runtime.Unit {
	r := strings.NewReplacer("F", g.File("fault"), "N", g.File("count"))
	return g.unit(r.Replace(talker), life)
}

func (g *rig) count() (n int) {
	g.Eventually("the count is written", func() bool { // it is empty for an instant each time
		n, _ = strconv.Atoi(strings.TrimSpace(g.read("count")))
		return n > 0
	})
	return n
}

// talks waits until the backend got further and what it wrote is kept.
func (g *rig) talks(id plane.BackendID) {
	g.t.Helper()
	from := g.count()
	g.Eventually("it goes on", func() bool { return g.count() > from+3 })
	want := fmt.Sprintf("\n%d\n", from+2)
	for end := time.Now().Add(5 * time.Second); !strings.Contains(g.Output(g.r, id), want); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			all := g.Output(g.r, id)
			g.t.Fatalf("the line %d isn't kept; of %d bytes the last are %q; now at %d; fault %q", from+2, len(all), all[max(0, len(all)-50):], g.count(), g.read("fault"))
		}
	}
	if f := g.read("fault"); f != "" {
		g.t.Fatalf("its output broke: %s", f)
	}
	for i, line := range strings.Split(strings.TrimPrefix(g.Output(g.r, id), "up\n"), "\n") {
		if line != "" && line != strconv.Itoa(i+1) {
			g.t.Fatalf("line %d of its output is %q", i+1, line)
		}
	}
}

func TestTrap49_52_BackendsOutliveTheWarden(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		u := g.talker(time.Minute)
		p := g.start(u)
		g.Outputs(g.r, u.Backend, "up")
		g.Settled()
		instance := g.r.Instance()
		type end struct {
			plane.Exit
			error
		}
		ended := make(chan end, 1)
		go func() {
			exit, err := p.Wait(g.Ctx())
			ended <- end{exit, err}
		}()
		for range 3 {
			old := g.Signal("warden", syscall.SIGKILL)
			g.replaced("warden", old)
			g.talks(u.Backend)
		}
		if !dronetest.Alive(p.Pid()) {
			t.Fatal("it died with its warden")
		}
		if g.r.Instance() != instance {
			t.Error("the new warden doesn't go on with the instance")
		}
		again, err := g.r.Start(g.Ctx(), u)
		if err != nil || again.Pid() != p.Pid() {
			t.Errorf("started anew: %v", err)
		}
		if err := p.Stop(g.Ctx(), plane.Hard); err != nil {
			t.Fatal(err)
		}
		if e := <-ended; e.error != nil {
			t.Errorf("wait: %v", e.error)
		} else if os.Getenv("PLANE_MEANS") != means.Portable && e.Signal != "SIGKILL" {
			t.Errorf("exit %+v", e.Exit)
		}
	})
}

func TestExitStatusIsKeptOverTheWardensDeath(t *testing.T) {
	g := newRig(t)
	u := g.unit("echo last words; read x < "+g.Fifo("go")+"; exit 42", time.Minute)
	p := g.start(u)
	g.Outputs(g.r, u.Backend, "words")
	g.Settled()
	w := g.Pid("warden")
	// It ends while there is no warden: the present one is stopped, then killed.
	g.Signal("warden", syscall.SIGSTOP)
	g.Open("go")
	g.Eventually("it ends", func() bool { return !dronetest.Alive(p.Pid()) })
	if err := syscall.Kill(w, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit := g.wait(p)
	if exit.Code == nil || *exit.Code != 42 || exit.Output != "last words" {
		t.Errorf("exit %+v", exit)
	}
}

func TestExitStatusOfAnInheritedChildIsKept(t *testing.T) {
	g := newRig(t)
	u := g.unit("read x < "+g.Fifo("go")+"; exit 43", time.Minute)
	p := g.start(u)
	g.Settled()
	g.replaced("warden", g.Signal("warden", syscall.SIGKILL))
	g.Open("go")
	if exit := g.wait(p); exit.Code == nil || *exit.Code != 43 {
		t.Errorf("exit %+v", exit)
	}
	reaper := g.Pid("reaper")
	g.Eventually("the reaper leaves no zombie", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
		return len(b) == 0
	})
	if g.Pid("reaper") != reaper {
		t.Error("another reaper")
	}
}

func TestBackendsOutliveTheReaper(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		u := g.talker(time.Minute)
		p := g.start(u)
		g.Settled()
		for range 2 {
			g.replaced("reaper", g.Signal("reaper", syscall.SIGKILL))
			g.talks(u.Backend)
		}
		if !dronetest.Alive(p.Pid()) {
			t.Fatal("it died")
		}
		exit := g.start(g.unit("exit 5", time.Minute))
		if e := g.wait(exit); e.Code == nil || *e.Code != 5 {
			t.Errorf("a new one: %+v", e)
		}
	})
}

func TestBackendsOutliveBothInTurn(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		u := g.talker(time.Minute)
		p := g.start(u)
		g.Settled()
		instance := g.r.Instance()
		for _, part := range []string{"warden", "reaper", "warden", "reaper", "reaper", "warden", "warden"} {
			g.replaced(part, g.Signal(part, syscall.SIGKILL))
			g.talks(u.Backend)
		}
		if !dronetest.Alive(p.Pid()) {
			t.Fatal("it died")
		}
		if _, err := g.r.Found(g.Ctx()); err != nil || g.r.Instance() != instance {
			t.Errorf("instance %q became %q, %v", instance, g.r.Instance(), err)
		}
		g.Table().Shorten(u.Backend, 0) // and is still within reach
		g.wait(p)
	})
}

func TestNothingOutlivesBothAtOnceUnwatched(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		u := g.unit("setsid sleep 60 & sleep 60", time.Minute)
		p := g.start(u)
		g.Settled()
		instance := g.r.Instance()
		a, b := g.Pid("warden"), g.Pid("reaper")
		// Stopped first, so that neither sees the other go.
		for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
			for _, pid := range []int{a, b} {
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
			}
		}
		exit := g.wait(p) // asks: so the parts are started
		if exit.Message == "" {
			t.Errorf("exit %+v", exit)
		}
		if dronetest.Alive(p.Pid()) {
			t.Error("it runs, though nobody watched it")
		}
		if g.r.Instance() == instance {
			t.Error("the gap doesn't show")
		}
	})
}

// enforced starts a backend with descendants, stops a part and waits for the
// deadline.
func enforced(t *testing.T, g *rig, stop ...string) {
	u := g.unit("trap '' TERM; setsid sleep 61 & (setsid sh -c 'sleep 62 &' &); sleep 0.1; echo up; sleep 63", 2500*time.Millisecond)
	p := g.start(u)
	g.Outputs(g.r, u.Backend, "up")
	g.Settled()
	for _, part := range stop {
		pid := g.Signal(part, syscall.SIGSTOP)
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	}
	g.Eventually("it is gone", func() bool { return !dronetest.Alive(p.Pid()) && !g.marked(u.Backend) })
	late := leaseNow().Sub(u.Deadline)
	if late < -5*time.Millisecond || late > tolerance() {
		t.Errorf("gone %v after the deadline", late)
	}
}

// marked reports whether any process carries the backend's marker.
func (g *rig) marked(id plane.BackendID) bool {
	dir, _ := os.ReadDir("/proc")
	for _, d := range dir {
		env, _ := os.ReadFile("/proc/" + d.Name() + "/environ")
		if strings.Contains(string(env), g.home.Hash()+":"+string(id)+"\x00") {
			return true
		}
	}
	return false
}

func TestDeadlineHoldsWhileTheWardenIsStopped(t *testing.T) {
	both(t, func(t *testing.T, g *rig) { enforced(t, g, "warden") })
}

func TestDeadlineHoldsWhileTheReaperIsStopped(t *testing.T) {
	both(t, func(t *testing.T, g *rig) { enforced(t, g, "reaper") })
}

func TestDeadlineHoldsWithANewReaperBesideAStoppedWarden(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		u := g.unit("setsid sleep 61 & sleep 62", 3*time.Second)
		p := g.start(u)
		g.Settled()
		g.replaced("reaper", g.Signal("reaper", syscall.SIGKILL))
		w := g.Signal("warden", syscall.SIGSTOP)
		defer func() { _ = syscall.Kill(w, syscall.SIGCONT) }()
		g.Eventually("it is gone", func() bool { return !dronetest.Alive(p.Pid()) && !g.marked(u.Backend) })
		if late := leaseNow().Sub(u.Deadline); late > tolerance() {
			t.Errorf("gone %v after the deadline", late)
		}
	})
}

func TestStartsGoOnWhileTheReaperIsStopped(t *testing.T) {
	g := newRig(t)
	g.start(g.unit("sleep 60", time.Minute))
	g.Settled()
	pid := g.Signal("reaper", syscall.SIGSTOP)
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	for range 100 {
		began := time.Now()
		g.start(g.unit("sleep 60", time.Minute))
		if d := time.Since(began); d > time.Second {
			t.Fatalf("a start took %v", d)
		}
	}
}

// A start that lies unread in a stopped warden must not come after the word of
// the next agent (trap 54, of our own parts).
func TestTrap54_StartsOfAFormerAgentDoNotComeLate(t *testing.T) {
	g := newRig(t)
	for range 5 {
		g.start(g.unit("exit 0", time.Minute))
		w := g.former(g.unit("sleep 60", time.Minute))
		if err := syscall.Kill(w, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		g.r.Close()
		before, err := g.r.Found(g.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // the time in which it must not appear
		after, err := g.r.Found(g.Ctx())
		if err != nil || len(after) != len(before) {
			t.Fatalf("%d became %d, %v", len(before), len(after), err)
		}
	}
}

func TestWardenKilledInAStormOfStartsLeavesNothingUnknown(t *testing.T) {
	both(t, func(t *testing.T, g *rig) {
		g.start(g.unit("sleep 60", time.Minute))
		g.Settled()
		var wg sync.WaitGroup
		var mu sync.Mutex
		running := map[plane.BackendID]runtime.Process{}
		for worker := range 4 {
			wg.Go(func() {
				for i := range 15 {
					u := g.unit("setsid sleep 60 & sleep 60", time.Minute)
					u.Backend = plane.BackendID(fmt.Sprintf("w%d-%d", worker, i))
					u.Key.Name = string(u.Backend)
					p, err := g.r.Start(g.Ctx(), u)
					if err != nil {
						t.Errorf("start: %v", err)
						return
					}
					mu.Lock()
					running[u.Backend] = p
					mu.Unlock()
				}
			})
		}
		for range 3 {
			time.Sleep(60 * time.Millisecond) // some way into the storm
			g.replaced("warden", g.Signal("warden", syscall.SIGKILL))
		}
		wg.Wait()
		var found []runtime.Found
		g.Eventually("starts that were cut short have ended", func() bool {
			var err error
			found, err = g.r.Found(g.Ctx())
			return err == nil && !slices.ContainsFunc(found, func(f runtime.Found) bool { return f.Exit == nil && f.Pid == 0 })
		})
		known := map[plane.BackendID]runtime.Found{}
		for _, f := range found {
			known[f.Backend] = f
		}
		lost := 0
		for id, p := range running {
			f, ok := known[id]
			switch {
			case !ok:
				t.Errorf("%s isn't known any more", id)
			case f.Exit != nil:
				lost++
				if dronetest.Alive(p.Pid()) {
					t.Errorf("%s is told ended and runs", id)
				}
			case !dronetest.Alive(f.Pid):
				t.Errorf("%s is told running and doesn't", id)
			}
		}
		t.Logf("%d of %d starts were cut short", lost, len(running))
		m := means.New(g.home.Hash(), slog.New(slog.DiscardHandler))
		for _, s := range m.Strays() {
			if f, ok := known[s.Backend]; !ok || f.Exit != nil {
				t.Errorf("a stray of %s", s.Backend)
			}
		}
	})
}

func TestOutputIsFollowedOverTheWardensDeath(t *testing.T) {
	g := newRig(t)
	// A pipe for each step: two reads of one could end with one writer.
	u := g.unit("echo 1; read x < "+g.Fifo("go1")+"; echo 2; read x < "+g.Fifo("go2")+"; echo 3; read x < "+g.Fifo("go3")+"; echo end", time.Minute)
	g.start(u)
	g.Outputs(g.r, u.Backend, "1\n")
	g.Settled()
	r, err := g.r.Output(g.Ctx(), u.Backend, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got strings.Builder
	buf := make([]byte, 100)
	until := func(want string) {
		for !strings.HasSuffix(got.String(), want) {
			n, err := r.Read(buf)
			got.Write(buf[:n])
			if err != nil {
				t.Fatalf("after %q: %v", got.String(), err)
			}
		}
	}
	until("1\n")
	g.Open("go1")
	until("2\n")
	g.replaced("warden", g.Signal("warden", syscall.SIGKILL))
	g.Open("go2")
	until("3\n")
	g.Open("go3")
	until("end\n")
	if got.String() != "1\n2\n3\nend\n" {
		t.Errorf("got %q", got.String())
	}
}

func TestStoppedWardenIsNamed(t *testing.T) {
	g := newRig(t)
	g.start(g.unit("exit 0", time.Minute))
	g.Settled()
	w := g.Signal("warden", syscall.SIGSTOP)
	defer func() { _ = syscall.Kill(w, syscall.SIGCONT) }()
	g.r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := g.r.Found(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), fmt.Sprintf("kill -CONT %d", w)) {
		t.Errorf("got %v", err)
	}
}
