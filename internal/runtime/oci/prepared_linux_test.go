package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plane"
	planeruntime "plane/internal/runtime"
	"plane/internal/runtime/runtimetest"
)

// stocked runs the runtime, with room for n.
func stocked(t testing.TB, n int, change ...func(*Options)) *rig {
	g := newRig(t, append(change, func(o *Options) { o.Prepared = Budget{Count: n} })...)
	g.serve(g.r)
	return g
}

// serve runs r until the end of the test, or the function it returns is called.
func (g *rig) serve(r *Runtime) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = r.Run(ctx) })
	stop = func() { cancel(); all.Wait() }
	g.t.Cleanup(stop)
	return stop
}

func (g *rig) waits() int {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	return len(g.r.stock.all())
}

// warm waits until n sandboxes of u's kind wait.
func (g *rig) warm(u planeruntime.Unit, n int) {
	g.t.Helper()
	u.Backend = plane.BackendID(fmt.Sprintf("w%d", g.n.Add(1)))
	u.Executable.Command = []string{"/server", "exit", "0"}
	p := g.start(u)
	g.wait(p)
	if err := p.Forget(g.Ctx()); err != nil {
		g.t.Fatal(err)
	}
	g.Eventually("they wait", func() bool { return g.waits() >= n })
}

// prepared reports whether a backend took a prepared sandbox.
func (p *process) prepared() bool { return strings.HasPrefix(p.bundle().container(), "sb-") }

func TestAPreparedSandboxIsLikeAnyOther(t *testing.T) {
	g := stocked(t, 1)
	g.image.config.User, g.image.config.WorkingDir = "app", "/made/for it"
	words := []string{"show", "id", "env", "limits", "write:/plane-data/x", "owner:/plane-data/x", "dial:/run/plane/socket", "/etc/hosts", "/etc/hostname", "owner:/made"}
	outputs := map[bool]string{}
	for _, taken := range []bool{false, true} {
		u := g.unit(append([]string{"/server"}, words...)...)
		u.Executable.Limits = plane.ResourceLimits{OpenFilesLimit: ptr(int64(99)), MemoryLimitBytes: ptr(int64(64 << 20))}
		u.Env = []string{"OWN=1"}
		u.Data, u.DataNew, u.Doors = filepath.Join(g.home.Dir, "data"+string(u.Backend)), true, g.home.DoorDir(u.Backend)
		for _, d := range []string{u.Data, u.Doors} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		l, err := net.Listen("unix", filepath.Join(u.Doors, "socket"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if taken {
			g.warm(u, 1)
		}
		out := g.run(u)
		p, err := g.r.Attach(g.Ctx(), u.Backend)
		if err != nil {
			t.Fatal(err)
		}
		if p.(*process).prepared() != taken {
			t.Fatalf("taken from the stock: %v", !taken)
		}
		outputs[taken] = strings.ReplaceAll(out, string(u.Backend), "ID")
	}
	if outputs[true] != outputs[false] {
		t.Errorf("launched:\n%s\nprepared:\n%s", outputs[false], outputs[true])
	}
	says(t, outputs[true], "id 1000 1001 [44] /made/for it ID", "OWN=1", "write:/plane-data/x <nil>", "dial:/run/plane/socket <nil>", "owner:/plane-data/x 1000 1001 -rw-r--r--")
}

func TestAPreparedSandboxIsUsedOnce(t *testing.T) {
	g := stocked(t, 2)
	u := g.unit("/server", "show", "write:/mine", "/mine", "/theirs")
	g.warm(u, 2)
	seen := map[string]bool{}
	for range 4 {
		p := g.start(g.unit())
		if id := p.bundle().container(); p.prepared() {
			if seen[id] {
				t.Errorf("%s was used again", id)
			}
			seen[id] = true
		}
		if code, _ := g.exec(p, "/server", "show", "write:/theirs"); code != 0 {
			t.Errorf("exec: %d", code)
		}
		_ = p.Stop(g.Ctx(), plane.Hard)
		g.wait(p)
		_ = p.Forget(g.Ctx())
	}
	if len(seen) == 0 {
		t.Error("none was taken")
	}
	if out := g.run(u); !strings.Contains(out, "/theirs: open /theirs: no such file") {
		t.Errorf("it sees another's files:\n%s", out)
	}
}

func TestAnotherKindIsNotTaken(t *testing.T) {
	g := stocked(t, 1)
	g.warm(g.unit(), 1)
	for what, change := range map[string]func(*planeruntime.Unit){
		"user":   func(u *planeruntime.Unit) { u.Executable.User = "app" },
		"root":   func(u *planeruntime.Unit) { u.Executable.ReadOnly = true },
		"limits": func(u *planeruntime.Unit) { u.Executable.Limits.PidsLimit = ptr(int64(77)) },
	} {
		u := g.unit()
		change(&u)
		if g.start(u).prepared() {
			t.Errorf("one with another %s was taken", what)
		}
	}
}

func TestADeadSandboxIsNoStart(t *testing.T) {
	g := stocked(t, 1)
	g.warm(g.unit(), 1)
	g.r.mu.Lock()
	var pid int
	for _, h := range g.r.stock {
		pid = h.ready[0].pid
	}
	g.r.mu.Unlock()
	_ = syscall.Kill(pid, syscall.SIGKILL)
	g.Eventually("it is dead", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(b), ") Z ")
	})
	p := g.start(g.unit())
	get(t, p.Pid(), plane.DefaultImagePort)
}

func TestWhatCantRunSaysWhyWhenPreparedToo(t *testing.T) {
	g := stocked(t, 1)
	g.warm(g.unit(), 1)
	if _, err := g.r.Start(g.Ctx(), g.unit("/none")); err == nil || !strings.Contains(err.Error(), `image test has no command "/none"`) {
		t.Errorf("got %v", err)
	}
}

func TestTheStockEndsWithTheAgent(t *testing.T) {
	g := newRig(t, func(o *Options) { o.Prepared = Budget{Count: 2} })
	stop := g.serve(g.r)
	keep := g.start(g.unit())
	g.warm(g.unit(), 2)
	stop()
	g.Eventually("nothing waits", func() bool {
		left := g.inventory()
		n := 0
		for _, l := range left {
			if strings.Contains(l, "sb-") {
				n++
			}
		}
		return n == 0 && len(g.holders()) == 1
	})
	// An agent that is killed discards nothing itself.
	g.serve(g.r)
	g.warm(g.unit(), 2)
	taken := g.start(g.unit())
	g.Eventually("there are two again", func() bool { return g.waits() == 2 })
	g.r.Line.Close()
	next := g.runtime()
	g.serve(next)
	g.r = next
	g.Eventually("only what was taken is left", func() bool {
		n := 0
		for _, id := range g.holders() {
			if strings.HasPrefix(id, "sb-") {
				n++
			}
		}
		bundles, _ := os.ReadDir(g.home.Bundles())
		for _, b := range bundles {
			if strings.HasPrefix(b.Name(), "sb-") && b.Name() != taken.bundle().container() {
				n++
			}
		}
		return n == 0
	})
	for _, p := range []*process{keep, taken} {
		q, err := next.Attach(g.Ctx(), p.Running.Backend)
		if err != nil {
			t.Fatal(err)
		}
		get(t, q.Pid(), plane.DefaultImagePort)
	}
}

func TestPreparedRuntime(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Bed {
		g := stocked(t, 3)
		g.warm(g.unit(), 3)
		run := func(argv ...string) plane.Executable { return plane.Executable{Image: "test", Command: argv} }
		return runtimetest.Bed{
			Runtime: g.r, Clock: leaseNow,
			Reopen: func() planeruntime.Runtime {
				g.r.Close()
				g.r = g.runtime()
				return g.r
			},
			Stays: run("/server"), Stubborn: run("/server", "stubborn"), Ends: run("/server", "exit", "3"), Lingers: run("/server", "lingers"), Says: "bye",
		}
	})
}

func TestStockIsSharedAmongKindsInUse(t *testing.T) {
	now := time.Now()
	s := stock{}
	limit := func(n int64) plane.Executable { return plane.Executable{Limits: plane.ResourceLimits{PidsLimit: &n}} }
	ask := func(n int64, at time.Time) bool {
		x := limit(n)
		_, ok := s.ask(kindOf("d", "", x), &picture{}, x, at)
		return ok
	}
	n := 0
	settle := func(most int, at time.Time) (made, gone int) {
		for {
			h, discard := s.next(most, at)
			if h == nil && len(discard) == 0 {
				return made, gone
			}
			gone += len(discard)
			if h != nil {
				n++
				made++
				h.ready = append(h.ready, waiting{id: fmt.Sprint(n)})
			}
			if made+gone > 100 {
				t.Fatal("it never rests")
			}
		}
	}
	if made, _ := settle(4, now); made != 0 {
		t.Errorf("prepared %d before any was used", made)
	}
	if ask(1, now) {
		t.Error("taken from nothing")
	}
	if made, gone := settle(4, now); made != 4 || gone != 0 {
		t.Errorf("prepared %d, discarded %d", made, gone)
	}
	if !ask(1, now) {
		t.Error("not taken")
	}
	ask(2, now.Add(time.Second))
	if settle(4, now.Add(time.Second)); len(s.all()) != 4 || len(s[kindOf("d", "", limit(2))].ready) != 2 {
		b, _ := json.Marshal(s.all())
		t.Errorf("two kinds share as %s", b)
	}
	for i := range int64(6) {
		ask(10+i, now.Add(2*time.Second))
	}
	if settle(4, now.Add(2*time.Second)); len(s.all()) > 4 {
		t.Errorf("%d wait, of 4", len(s.all()))
	}
	if _, gone := settle(4, now.Add(time.Hour)); gone != 4 || len(s) != 0 {
		t.Errorf("discarded %d of what nobody asks for", gone)
	}
	if (Budget{Count: 8, Memory: 3 * SandboxMemory}).most() != 3 || (Budget{Count: 8}).most() != 8 {
		t.Error("the budget isn't kept")
	}
}
