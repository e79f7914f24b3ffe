package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
	"plane/internal/runtime/process"
)

// TestMain makes this test's own program serve as reaper and warden.
func TestMain(m *testing.M) {
	leave := 300 * time.Millisecond
	if d, err := time.ParseDuration(os.Getenv("TEST_LEAVE")); err == nil {
		leave = d
	}
	dronetest.Parts(leave)
	if len(os.Args) == 3 && os.Args[1] == "agent" {
		formerAgent(os.Args[2])
	}
	if len(os.Args) == 6 && os.Args[1] == "exec-agent" {
		execAgent(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// formerAgent is an agent of another process that asks for a start, and is
// killed before it hears of it.
func formerAgent(dir string) {
	h, err := home.New(dir)
	if err != nil {
		panic(err)
	}
	c, err := warden.Connect(context.Background(), h)
	if err != nil {
		panic(err)
	}
	fmt.Println("connected")
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	var u runtime.Unit
	if err := json.Unmarshal([]byte(line), &u); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		cancel()
	}()
	time.AfterFunc(20*time.Millisecond, func() { fmt.Println("asked") })
	_, _, _ = c.Start(ctx, warden.Order{
		Backend: u.Backend, Key: u.Key.Hash(), Policy: u.Policy, Epoch: u.Epoch,
		Deadline: u.Deadline, Executable: u.Executable, Env: u.Env,
	})
	select {}
}

// former connects another agent, stops the warden, lets that agent ask for u
// and kills it. It returns the pid of the stopped warden.
func (g *rig) former(u runtime.Unit) int {
	g.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command(exe, "agent", g.home.Dir)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		g.t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if l, _ := lines.ReadString('\n'); l != "connected\n" {
		g.t.Fatalf("the former agent says %q", l)
	}
	w := g.Signal("warden", syscall.SIGSTOP)
	b, err := json.Marshal(u)
	if err != nil {
		g.t.Fatal(err)
	}
	_, _ = in.Write(append(b, '\n'))
	if l, _ := lines.ReadString('\n'); l != "asked\n" {
		g.t.Fatalf("the former agent says %q", l)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return w
}

// rig is a drone without an agent: the test is the agent.
type rig struct {
	*dronetest.Rig
	t    testing.TB
	home home.Home
	r    *process.Runtime
	n    atomic.Int32
}

func newRig(t testing.TB) *rig {
	t.Helper()
	g := &rig{Rig: dronetest.New(t), t: t}
	g.home, g.Patience = g.Home(), 15*time.Second
	g.r = g.runtime()
	t.Cleanup(g.end)
	return g
}

func (g *rig) runtime() *process.Runtime {
	return process.New(func(ctx context.Context) (*warden.Client, error) {
		return dronetest.Dial(ctx, g.home)
	}, process.Options{Home: g.home})
}

// end kills what runs and waits until the parts have left.
func (g *rig) end() {
	g.r.Close()
	r := g.runtime()
	g.End(r)
	r.Close()
	if left := g.Leave(); left != nil {
		g.t.Errorf("left: %s", left)
	}
}

// Ctx is for one question, which may take longer than what is waited for.
func (g *rig) Ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	g.t.Cleanup(cancel)
	return ctx
}

// unit is a backend that runs script; life is how far off its deadline is.
func (g *rig) unit(script string, life time.Duration) runtime.Unit {
	name := fmt.Sprintf("b%d", g.n.Add(1))
	return runtime.Unit{
		Backend: plane.BackendID(name), Key: plane.Key{Name: name}, Generation: 1,
		Policy: plane.Fast, Epoch: 1, Deadline: leaseclock.Lease().Now().Add(life), Grace: 500 * time.Millisecond,
		Executable: plane.Executable{Command: []string{"/bin/sh", "-c", script}},
		Env:        []string{"PATH=/usr/bin:/bin"},
	}
}

func (g *rig) start(u runtime.Unit) runtime.Process {
	g.t.Helper()
	p, err := g.r.Start(g.Ctx(), u)
	if err != nil {
		g.t.Fatal(err)
	}
	return p
}

func (g *rig) wait(p runtime.Process) plane.Exit {
	g.t.Helper()
	exit, err := p.Wait(g.Ctx())
	if err != nil {
		g.t.Fatal(err)
	}
	return exit
}

// replaced waits until part runs as another process, and settles.
func (g *rig) replaced(part string, old int) {
	g.t.Helper()
	g.Replaced(part, old)
	g.Settled()
}

func (g *rig) read(name string) string {
	b, _ := os.ReadFile(g.File(name))
	return string(b)
}
