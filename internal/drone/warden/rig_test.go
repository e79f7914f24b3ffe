package warden_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/means"
	"plane/internal/drone/reaper"
	"plane/internal/drone/warden"
	"plane/internal/runtime/line"
)

// TestMain makes this test's own program serve as reaper, warden and agent.
func TestMain(m *testing.M) {
	dronetest.Parts(300 * time.Millisecond)
	if len(os.Args) == 4 && os.Args[1] == "agent" {
		otherAgent(os.Args[2], os.Args[3])
	}
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil {
		_ = f.Value.Set("6") // they wait most of the time
	}
	os.Exit(m.Run())
}

// rig is a drone without an agent: the test is the agent.
type rig struct {
	*dronetest.Rig
	t     *testing.T
	means string // PLANE_MEANS of its parts
	home  home.Home
	line  *line.Line
	n     atomic.Int32
}

func newRig(t *testing.T) *rig {
	t.Helper()
	t.Parallel()
	return rigWith(t, "best")
}

func rigWith(t *testing.T, kind string) *rig {
	t.Helper()
	g := &rig{Rig: dronetest.New(t), t: t, means: kind}
	g.home = g.Home()
	g.line = line.New(g.dial, g.home, nil)
	t.Cleanup(g.end)
	return g
}

func (g *rig) dial(ctx context.Context) (*warden.Client, error) {
	return dronetest.Dial(ctx, g.home, "/usr/bin/env", "PLANE_MEANS="+g.means)
}

// grouped skips where prepared sandboxes can't be had.
func (g *rig) grouped() {
	g.t.Helper()
	if !means.New(g.home.Hash(), slog.New(slog.DiscardHandler)).Cgroups() {
		if os.Getenv("CI") != "" {
			g.t.Fatal("missing: cgroups that may be made")
		}
		g.t.Skip("missing: cgroups that may be made")
	}
}

// end kills what runs, waits until the parts have left, and looks for what is
// left.
func (g *rig) end() {
	if _, watched := g.home.Holder("warden"); watched {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = g.line.Ask(ctx, func(c *warden.Client) error {
			all, err := c.Found(ctx)
			for _, b := range all {
				if b.Exit != nil {
					continue
				}
				_ = c.Stop(ctx, b.Backend, plane.Hard)
				if b.Engine {
					_ = c.Release(ctx, b.Backend, plane.Exit{})
				} else if _, err := c.Wait(ctx, b.Backend); err != nil {
					return err
				}
			}
			return err
		})
	}
	g.line.Close()
	if left := g.Leave(); left != nil {
		g.t.Errorf("left: %s", left)
	}
}

// client is a connection, for what must not be asked twice.
func (g *rig) client() *warden.Client {
	g.t.Helper()
	c, err := g.line.Connect(g.Ctx())
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

func now() plane.Instant { return leaseclock.Lease().Now() }

// tolerance is how long after its deadline a backend may be gone.
const tolerance = 2 * time.Second

func (g *rig) order(life time.Duration) warden.Order {
	name := fmt.Sprintf("b%d", g.n.Add(1))
	return warden.Order{
		Backend: plane.BackendID(name), Key: plane.Key{Name: name}.Hash(), Generation: 1, Policy: plane.Fast, Epoch: 1,
		Deadline: now().Add(life), Grace: 200 * time.Millisecond, Runtime: plane.RuntimeOCI,
	}
}

// launch is a launcher: a shell that runs before, leaves script running as the
// first process and ends.
func launch(h home.Home, name, before, script string) *warden.Launch {
	pidFile := filepath.Join(h.Dir, name+".pid")
	return &warden.Launch{
		Argv: []string{"/bin/sh", "-c", before + "\nsetsid /bin/sh -c \"$0\" & echo $! > " + pidFile, script},
		Env:  []string{"PATH=/usr/bin:/bin", mark(h, name)}, Dir: "/", PidFile: pidFile,
	}
}

func mark(h home.Home, name string) string {
	return means.At(h.Hash(), "", slog.New(slog.DiscardHandler)).MarkEnv(plane.BackendID(name))
}

func (g *rig) launched(life time.Duration, before, script string) warden.Order {
	o := g.order(life)
	o.Launch = launch(g.home, string(o.Backend), before, script)
	return o
}

func (g *rig) start(o warden.Order) warden.Running {
	g.t.Helper()
	r, err := g.tryStart(g.Ctx(), o)
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

func (g *rig) tryStart(ctx context.Context, o warden.Order) (r warden.Running, err error) {
	err = g.line.Ask(ctx, func(c *warden.Client) (err error) {
		r, _, err = c.Start(ctx, o)
		return err
	})
	return r, err
}

func (g *rig) stop(id plane.BackendID, kind plane.StopKind) {
	g.t.Helper()
	if err := g.line.Ask(g.Ctx(), func(c *warden.Client) error { return c.Stop(g.Ctx(), id, kind) }); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) wait(id plane.BackendID) (exit plane.Exit) {
	g.t.Helper()
	err := g.line.Ask(g.Ctx(), func(c *warden.Client) (err error) {
		exit, err = c.Wait(g.Ctx(), id)
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return exit
}

func (g *rig) found() map[plane.BackendID]warden.Running {
	g.t.Helper()
	all := map[plane.BackendID]warden.Running{}
	err := g.line.Ask(g.Ctx(), func(c *warden.Client) error {
		found, err := c.Found(g.Ctx())
		clear(all)
		for _, b := range found {
			all[b.Backend] = b
		}
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return all
}

// kill kills parts, none of which sees the others go, and waits for the next
// ones to talk to each other.
func (g *rig) kill(parts ...string) {
	g.t.Helper()
	g.Settled()
	old := map[string]int{}
	for _, part := range parts {
		old[part] = g.Pid(part)
	}
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, pid := range old {
			if err := syscall.Kill(pid, sig); err != nil {
				g.t.Fatal(err)
			}
		}
	}
	for part, before := range old {
		g.Eventually(part+" is replaced", func() bool {
			_, _ = g.line.Connect(g.Ctx()) // which starts the parts if none is left
			pid, held := g.home.Holder(part)
			return held && pid != before && pid != 0
		})
	}
	g.Settled()
}

func (g *rig) gone(pid int) {
	g.t.Helper()
	g.Eventually(fmt.Sprintf("process %d is gone", pid), func() bool { return !dronetest.Alive(pid) })
}

// marked lists processes that carry the marker of a backend.
func (g *rig) marked(name string) (all []string) {
	dir, _ := os.ReadDir("/proc")
	for _, d := range dir {
		env, _ := os.ReadFile("/proc/" + d.Name() + "/environ")
		if strings.Contains(string(env), mark(g.home, name)+"\x00") {
			all = append(all, d.Name())
		}
	}
	return all
}

// groups lists the cgroups that backends and sandboxes have.
func (g *rig) groups() (all []string) {
	m := means.New(g.home.Hash(), slog.New(slog.DiscardHandler))
	entries, _ := os.ReadDir(m.Base())
	for _, e := range entries {
		if e.IsDir() {
			all = append(all, e.Name())
		}
	}
	return all
}

func (g *rig) read(name string) string {
	b, _ := os.ReadFile(g.File(name))
	return strings.TrimSpace(string(b))
}

// appears waits until a script has written a file.
func (g *rig) appears(name string) string {
	g.t.Helper()
	g.Eventually(name+" appears", func() bool { return g.read(name) != "" })
	return g.read(name)
}

// otherAgent is an agent of another process, which prepares a sandbox and waits
// to be killed.
func otherAgent(dir, id string) {
	h, err := home.New(dir)
	if err == nil {
		err = reaper.Ensure(context.Background(), h, []string{os.Args[0], "reaper", dir})
	}
	if err != nil {
		panic(err)
	}
	c, err := warden.Connect(context.Background(), h)
	if err != nil {
		panic(err)
	}
	if err := c.Prepare(context.Background(), sandbox(h, id, waits)); err != nil {
		panic(err)
	}
	fmt.Println("prepared")
	select {}
}

// agent runs another agent, which has prepared id.
func (g *rig) agent(id string) *exec.Cmd {
	g.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command(exe, "agent", g.home.Dir, id)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	b := make([]byte, 9)
	if _, err := io.ReadFull(out, b); err != nil || string(b) != "prepared\n" {
		g.t.Fatalf("the other agent says %q, %v", b, err)
	}
	return cmd
}
