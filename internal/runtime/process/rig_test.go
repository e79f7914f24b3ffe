package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
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
	w := g.kill("warden", syscall.SIGSTOP)
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
	t    testing.TB
	home home.Home
	r    *process.Runtime
	n    atomic.Int32
}

func newRig(t testing.TB) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "plane")
	if err != nil {
		t.Fatal(err)
	}
	h, err := home.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, home: h}
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
	_, watched := g.home.Holder("warden")
	r := g.runtime()
	if watched {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		found, err := r.Found(ctx)
		if err != nil {
			g.t.Errorf("at the end: %v", err)
		}
		var all sync.WaitGroup
		for _, f := range found {
			all.Go(func() {
				if p, err := r.Attach(ctx, f.Backend); err == nil {
					_ = p.Stop(ctx, plane.Hard)
					if _, err := p.Wait(ctx); err != nil {
						g.t.Errorf("at the end: %v", err)
					}
				}
			})
		}
		all.Wait()
	}
	r.Close()
	deadline := time.Now().Add(15 * time.Second)
	for {
		_, w := g.home.Holder("warden")
		_, r := g.home.Holder("reaper")
		if !w && !r {
			break
		}
		if time.Now().After(deadline) {
			g.t.Error("warden or reaper stay")
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	m := means.New(g.home.Hash(), slog.New(slog.DiscardHandler))
	if s := m.Strays(); len(s) > 0 {
		g.t.Errorf("left running: %v", s)
		m.Kill(s...)
	}
	m.Tidy()
	for _, left := range []string{m.Base(), g.home.TableFile()} {
		if _, err := os.Stat(left); left != "" && err == nil {
			g.t.Errorf("%s is left", left)
		}
	}
	for _, part := range []string{"reaper", "warden"} {
		if b, _ := os.ReadFile(g.home.Log(part)); strings.Contains(string(b), "DATA RACE") || strings.Contains(string(b), "panic:") {
			g.t.Errorf("the %s has a fault", part)
		}
	}
	if g.t.Failed() {
		for _, part := range []string{"reaper", "warden"} {
			b, _ := os.ReadFile(g.home.Log(part))
			g.t.Logf("%s.log:\n%s", part, b)
		}
	}
	_ = os.RemoveAll(g.home.Dir)
}

func (g *rig) table() *table.Table {
	g.t.Helper()
	tb, err := table.Open(g.home.TableFile())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = tb.Close() })
	return tb
}

func (g *rig) ctx() context.Context {
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
	p, err := g.r.Start(g.ctx(), u)
	if err != nil {
		g.t.Fatal(err)
	}
	return p
}

func (g *rig) wait(p runtime.Process) plane.Exit {
	g.t.Helper()
	exit, err := p.Wait(g.ctx())
	if err != nil {
		g.t.Fatal(err)
	}
	return exit
}

func (g *rig) pid(part string) int {
	g.t.Helper()
	pid := 0
	g.eventually(part+" runs", func() bool {
		var held bool
		pid, held = g.home.Holder(part)
		return held && pid != 0
	})
	return pid
}

// kill signals a part and returns its pid.
func (g *rig) kill(part string, sig syscall.Signal) int {
	g.t.Helper()
	pid := g.pid(part)
	if err := syscall.Kill(pid, sig); err != nil {
		g.t.Fatal(err)
	}
	if sig == syscall.SIGSTOP {
		g.eventually("it is stopped", func() bool {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return strings.Contains(string(b), ") T ")
		})
	}
	return pid
}

// replaced waits until part runs as another process, and settles.
func (g *rig) replaced(part string, old int) {
	g.t.Helper()
	g.eventually(part+" is replaced", func() bool {
		pid, held := g.home.Holder(part)
		return held && pid != old && pid != 0
	})
	g.settled()
}

// settled waits until the reaper has said in its log that it is connected to
// the present warden.
func (g *rig) settled() {
	g.t.Helper()
	reaper := g.pid("reaper")
	g.eventually("they talk to each other", func() bool {
		w, err := warden.Probe(g.ctx(), g.home)
		if err != nil {
			return false
		}
		b, _ := os.ReadFile(g.home.Log("warden"))
		all := string(b)
		if i := strings.LastIndex(all, fmt.Sprintf("serving pid=%d", w.Pid)); i >= 0 {
			all = all[i:]
		} else {
			return false
		}
		return strings.Contains(all, fmt.Sprintf(`msg="reaper connected" pid=%d`, reaper))
	})
}

func (g *rig) eventually(what string, ok func() bool) {
	g.t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatal("never: " + what)
		}
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// file gives a path for a script to write to.
func (g *rig) file(name string) string { return filepath.Join(g.home.Dir, name) }

func (g *rig) read(name string) string {
	b, _ := os.ReadFile(g.file(name))
	return string(b)
}
