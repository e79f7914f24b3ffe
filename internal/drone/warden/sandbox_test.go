package warden_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/warden"
)

// waits is the init of a sandbox: it runs the line that it is told.
const waits = `trap '' TERM; IFS= read -r x <&3 || exit 0; exec 3<&-; eval "$x"`

func sandbox(h home.Home, id, init string) warden.Sandbox {
	return warden.Sandbox{ID: id, Launch: *launch(h, id, "", init)}
}

func (g *rig) prepare() string {
	g.t.Helper()
	return g.prepareThat(waits)
}

func (g *rig) prepareThat(init string) string {
	g.t.Helper()
	id := warden.NewSandboxID()
	if err := g.client().Prepare(g.Ctx(), sandbox(g.home, id, init)); err != nil {
		g.t.Fatal(err)
	}
	return id
}

func (g *rig) sandboxes() []string {
	g.t.Helper()
	all, err := g.client().Sandboxes(g.Ctx())
	if err != nil {
		g.t.Fatal(err)
	}
	return all
}

// claim is an order that has a sandbox run script.
func (g *rig) claim(life time.Duration, id, script string) warden.Order {
	o := g.order(life)
	o.Sandbox, o.Payload = id, []byte(script+"\n")
	return o
}

func (g *rig) init(id string) (pid int) {
	g.t.Helper()
	_, err := fmt.Sscan(g.read(id+".pid"), &pid)
	if err != nil {
		g.t.Fatal(err)
	}
	return pid
}

func TestASandboxBecomesABackendOnce(t *testing.T) {
	g := newRig(t)
	g.grouped()
	id, other := g.prepare(), g.prepare()
	if all := g.sandboxes(); len(all) != 2 || !slices.Contains(all, id) {
		t.Fatalf("prepared %v", all)
	}
	if err := g.client().Prepare(g.Ctx(), sandbox(g.home, id, waits)); err != nil || len(g.sandboxes()) != 2 {
		t.Errorf("asked twice: %v, %v", err, g.sandboxes())
	}
	init := g.init(id)
	o := g.claim(time.Minute, id, "echo claimed; read x < "+g.Fifo("go")+"; exit 5")
	r := g.start(o)
	if r.Pid != init || r.Group.String() != id {
		t.Errorf("runs as %+v, prepared as %d", r, init)
	}
	if again := g.start(o); again.Pid != init {
		t.Errorf("started again: %+v", again)
	}
	if all := g.sandboxes(); len(all) != 1 || all[0] != other {
		t.Errorf("then %v", all)
	}
	if _, err := g.tryStart(g.Ctx(), g.claim(time.Minute, id, "echo twice")); !errors.Is(err, warden.ErrNoSandbox) {
		t.Errorf("claimed twice: %v", err)
	}
	g.Outputs(g.line, o.Backend, "claimed")
	g.Open("go")
	if exit := g.wait(o.Backend); exit.Code == nil || *exit.Code != 5 || exit.Output != "claimed" {
		t.Errorf("exit %+v", exit)
	}
	if err := g.client().Discard(g.Ctx(), other, id, "sb-0000000000000007"); err != nil {
		t.Error(err)
	}
	if all := g.groups(); len(all) != 0 || dronetest.Alive(g.init(other)) {
		t.Errorf("cgroups %v are left", all)
	}
}

func TestASandboxThatEndedCannotBeClaimed(t *testing.T) {
	g := newRig(t)
	g.grouped()
	id := g.prepare()
	_ = syscall.Kill(g.init(id), syscall.SIGKILL)
	g.Eventually("that is seen", func() bool { return len(g.sandboxes()) == 0 })
	g.Eventually("nothing of it is left", func() bool { return len(g.groups()) == 0 })
	o := g.claim(time.Minute, id, "echo no")
	if _, err := g.tryStart(g.Ctx(), o); !errors.Is(err, warden.ErrNoSandbox) {
		t.Fatalf("claimed: %v", err)
	}
	o.Sandbox, o.Payload, o.Launch = "", nil, launch(g.home, string(o.Backend), "", "read x < "+g.Fifo("go")+"; exit 4")
	g.start(o)
	g.Open("go")
	if exit := g.wait(o.Backend); exit.Code == nil || *exit.Code != 4 {
		t.Errorf("launched instead: %+v", exit)
	}
}

// A claim that the init doesn't read is given up, and nothing of it ever runs.
func TestASandboxThatDoesNotReadIsSpent(t *testing.T) {
	g := newRig(t)
	g.grouped()
	id := g.prepareThat("sleep 60")
	o := g.claim(time.Minute, id, "echo "+strings.Repeat("x", 1<<20))
	if _, err := g.tryStart(g.Ctx(), o); !errors.Is(err, warden.ErrNoSandbox) {
		t.Fatalf("claimed: %v", err)
	}
	if dronetest.Alive(g.init(id)) || len(g.groups()) != 0 || len(g.Table().Entries()) != 0 {
		t.Errorf("left: process %q, cgroups %v, entries %v", dronetest.Stat(g.init(id)), g.groups(), g.Table().Entries())
	}
}

func TestAWardenThatDiesAmidAClaimLeavesNothing(t *testing.T) {
	g := newRig(t)
	g.grouped()
	id := g.prepareThat("sleep 60")
	g.Settled()
	o := g.claim(time.Minute, id, "echo "+strings.Repeat("x", 1<<20))
	done := make(chan plane.Exit, 1)
	go func() {
		r, err := g.tryStart(g.Ctx(), o)
		if err != nil || r.Exit == nil {
			t.Errorf("asked again: %+v, %v", r, err)
			close(done)
			return
		}
		done <- *r.Exit
	}()
	tb := g.Table()
	g.Eventually("it is being claimed", func() bool { return tb.Used() == 1 })
	g.kill("warden")
	if exit := <-done; exit.Message == "" {
		t.Errorf("exit %+v", exit)
	}
	if dronetest.Alive(g.init(id)) {
		t.Error("it runs")
	}
}

func TestSandboxesEndWithTheirAgent(t *testing.T) {
	g := newRig(t)
	g.grouped()
	g.client()
	killed, replaced := warden.NewSandboxID(), warden.NewSandboxID()
	agent := g.agent(killed)
	g.line.Close()
	pid := g.init(killed)
	_ = agent.Process.Kill()
	g.gone(pid)
	g.Eventually("its cgroup is gone", func() bool { return len(g.groups()) == 0 })
	g.agent(replaced)
	pid = g.init(replaced)
	own := g.prepare() // connects, in place of the other agent
	g.gone(pid)
	g.Eventually("only our own is left", func() bool { return slices.Equal(g.groups(), []string{own}) })
	if all := g.sandboxes(); len(all) != 1 || all[0] != own {
		t.Errorf("prepared %v", all)
	}
	pid = g.init(own)
	g.line.Close()
	g.gone(pid)
	g.Eventually("nothing is left", func() bool { return len(g.groups()) == 0 })
}

func TestSandboxesEndWithTheWarden(t *testing.T) {
	t.Parallel()
	for _, killed := range [][]string{{"warden"}, {"warden", "reaper"}} {
		t.Run(fmt.Sprint(killed), func(t *testing.T) {
			g := newRig(t)
			g.grouped()
			ids := []string{g.prepare(), g.prepareThat("sleep 60")} // which doesn't end by itself
			var pids []int
			for _, id := range ids {
				pids = append(pids, g.init(id))
			}
			g.kill(killed...)
			for _, pid := range pids {
				g.gone(pid)
			}
			g.Eventually("their cgroups are gone", func() bool { return len(g.groups()) == 0 })
			if _, err := g.tryStart(g.Ctx(), g.claim(time.Minute, ids[0], "echo no")); !errors.Is(err, warden.ErrNoSandbox) {
				t.Errorf("claimed: %v", err)
			}
		})
	}
}

func TestSandboxesOutliveTheReaper(t *testing.T) {
	g := newRig(t)
	g.grouped()
	id := g.prepare()
	g.kill("reaper")
	o := g.claim(time.Minute, id, "exit 6")
	g.start(o)
	if exit := g.wait(o.Backend); exit.Code == nil || *exit.Code != 6 {
		t.Errorf("exit %+v", exit)
	}
}

// While one is being launched everybody may be killed, and who prepared it may
// change its mind.
func TestASandboxThatIsBeingLaunchedLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"discarded", "agent", "warden", "warden reaper"} {
		t.Run(how, func(t *testing.T) {
			g := newRig(t)
			g.grouped()
			c := g.client()
			g.Settled()
			id := warden.NewSandboxID()
			s := warden.Sandbox{ID: id, Launch: *launch(g.home, id, "setsid sleep 60 & echo $! > "+g.File("launching")+"; sleep 60", waits)}
			ctx, cancel := context.WithCancel(g.Ctx())
			done := make(chan error, 1)
			go func() { done <- c.Prepare(ctx, s) }()
			var pid int
			_, _ = fmt.Sscan(g.appears("launching"), &pid)
			switch how {
			case "discarded":
				cancel()
			case "agent":
				g.line.Close()
			default:
				g.kill(strings.Fields(how)...)
			}
			if err := <-done; err == nil {
				t.Error("it is prepared")
			}
			cancel()
			g.gone(pid)
			g.Eventually("its cgroup is gone", func() bool { return len(g.groups()) == 0 })
		})
	}
}

func TestWhatClaimedASandboxOutlivesThePartsAndKeepsItsDeadline(t *testing.T) {
	g := newRig(t)
	g.grouped()
	id := g.prepare()
	o := g.claim(time.Minute, id, "setsid sleep 60 & echo $! > "+g.File("child")+"; echo up; sleep 60")
	r := g.start(o)
	g.Outputs(g.line, o.Backend, "up")
	for _, part := range []string{"warden", "reaper", "warden"} {
		g.kill(part)
		if b := g.found()[o.Backend]; b.Pid != r.Pid || b.Group.String() != id || !dronetest.Alive(r.Pid) {
			t.Fatalf("after the death of the %s: %+v", part, b)
		}
	}
	var child int
	_, _ = fmt.Sscan(g.appears("child"), &child)
	w := g.Signal("warden", syscall.SIGSTOP)
	g.Table().Shorten(o.Backend, now())
	g.gone(r.Pid)
	g.gone(child)
	_ = syscall.Kill(w, syscall.SIGCONT)
	g.wait(o.Backend)
	g.Eventually("its cgroup is gone", func() bool { return len(g.groups()) == 0 })
}

func TestAClaimPastItsDeadlineLeavesTheSandbox(t *testing.T) {
	g := newRig(t)
	g.grouped()
	id := g.prepare()
	if _, _, err := g.client().Start(g.Ctx(), g.claim(-time.Millisecond, id, "echo no")); !errors.Is(err, warden.ErrDead) {
		t.Errorf("claimed: %v", err)
	}
	if all := g.sandboxes(); len(all) != 1 {
		t.Errorf("then %v", all)
	}
}

func TestASandboxCostsFourDescriptors(t *testing.T) {
	g := newRig(t)
	g.grouped()
	g.prepare()
	count := func() int {
		d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.Pid("warden")))
		if err != nil {
			t.Skip("descriptors can't be counted here")
		}
		return len(d)
	}
	before := count()
	for range 10 {
		g.prepare()
	}
	if n := count() - before; n > 40 {
		t.Errorf("ten have %d", n)
	}
}
