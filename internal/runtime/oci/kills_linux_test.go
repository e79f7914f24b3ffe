package oci

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/warden"
	planeruntime "plane/internal/runtime"
)

// agentOrder is what an agent in a process of its own is to start.
type agentOrder struct {
	Home     string
	Launcher string
	Layer    string
	Unit     planeruntime.Unit
}

// bare is an image that nobody holds.
type bare struct{ picture }

func (b bare) pull(context.Context, plane.Executable, func(planeruntime.Progress)) (*picture, error) {
	return &b.picture, nil
}
func (bare) hold(context.Context, string, string) error { return nil }
func (bare) release(string) error                       { return nil }
func (bare) holders() []string                          { return nil }

// serveAgent is such an agent. It says when it begins, and stays until it is killed.
func serveAgent(order string) {
	var o agentOrder
	err := json.Unmarshal([]byte(order), &o)
	var h home.Home
	if err == nil {
		h, err = home.New(o.Home)
	}
	if err == nil {
		r := newRuntime(bare{picture{name: "test", digest: "sha256:test", layers: []string{o.Layer}, config: config{Entrypoint: []string{"/server"}}}}, Options{
			Home: h, Runtime: o.Launcher,
			Dial: func(ctx context.Context) (*warden.Client, error) { return dronetest.Dial(ctx, h) },
		})
		if _, _, err = r.machine(context.Background()); err == nil {
			fmt.Println("begins")
			_, err = r.Start(context.Background(), o.Unit)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

// cuts are the ways in which a start is cut short.
var cuts = map[string]func(g *rig, u planeruntime.Unit){
	"agent": func(g *rig, u planeruntime.Unit) {
		order, err := json.Marshal(agentOrder{g.home.Dir, g.opts.Runtime, g.layer, u})
		if err != nil {
			g.t.Error(err)
			return
		}
		c := exec.Command(os.Args[0], "agent", string(order))
		c.Stderr = g.t.Output()
		out, err := c.StdoutPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			g.t.Error(err)
			return
		}
		_, _ = bufio.NewReader(out).ReadString('\n')
		moment(250)
		_ = c.Process.Kill()
		_ = c.Wait()
	},
	"launcher": func(g *rig, u planeruntime.Unit) {
		g.during(u, func() {
			for end := time.Now().Add(time.Second); time.Now().Before(end); {
				if pid := g.launcher(u); pid > 0 {
					moment(40)
					_ = syscall.Kill(pid, syscall.SIGKILL)
					return
				}
			}
		})
	},
	"warden": func(g *rig, u planeruntime.Unit) { g.during(u, func() { moment(30); g.killPart("warden") }) },
	"reaper": func(g *rig, u planeruntime.Unit) { g.during(u, func() { moment(30); g.killPart("reaper") }) },
	"init": func(g *rig, u planeruntime.Unit) {
		g.during(u, func() {
			for end := time.Now().Add(time.Second); time.Now().Before(end); {
				b, _ := os.ReadFile(bundleOf(g.home, string(u.Backend)).path(pidFile))
				if pid, _ := strconv.Atoi(strings.TrimSpace(string(b))); pid > 1 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
					return
				}
			}
		})
	},
}

// moment is any time up to so many milliseconds, rather a short one.
func moment(most int) {
	time.Sleep(time.Duration(float64(most) * rand.Float64() * rand.Float64() * float64(time.Millisecond)))
}

// during starts u and cuts meanwhile.
func (g *rig) during(u planeruntime.Unit, cut func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = g.r.Start(g.Ctx(), u) // it may fail, and what is left then is the question
	}()
	cut()
	<-done
}

func (g *rig) killPart(name string) {
	if pid, held := g.home.Holder(name); held {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// launcher is the process that makes the container of u: the warden's child.
func (g *rig) launcher(u planeruntime.Unit) int {
	pid, _ := g.home.Holder("warden")
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		for child := range strings.FieldsSeq(string(b)) {
			args, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if strings.Contains(string(args), bundleOf(g.home, string(u.Backend)).dir) {
				n, _ := strconv.Atoi(child)
				return n
			}
		}
	}
	return 0
}

// clear makes absent what came of a start, as the next agent does.
func (g *rig) clear(u planeruntime.Unit) {
	p, err := g.r.Attach(g.Ctx(), u.Backend)
	if errors.Is(err, planeruntime.ErrGone) {
		if err := g.r.sweepOne(g.Ctx(), string(u.Backend)); err != nil {
			g.t.Errorf("sweep: %v", err)
		}
		return
	}
	if err != nil {
		g.t.Errorf("attach: %v", err)
		return
	}
	if err := p.Stop(g.Ctx(), plane.Hard); err != nil && !errors.Is(err, planeruntime.ErrGone) {
		g.t.Errorf("stop: %v", err)
	}
	if _, err := p.Wait(g.Ctx()); err != nil {
		g.t.Errorf("wait: %v", err)
	}
	if err := p.Forget(g.Ctx()); err != nil {
		g.t.Errorf("forget: %v", err)
	}
}

// rounds of kills: enough of them for a minute or more where the machine is ours.
func rounds() int {
	if os.Getenv("PLANE_SOAK") != "" {
		return 200
	}
	return 10
}

func TestNothingIsLeftOfStartsThatAreCutShort(t *testing.T) {
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			stays := g.stays()
			before := g.inventory()
			for i := range rounds() {
				u := g.unit()
				if i%2 == 0 {
					u.Executable.Limits.DiskLimitBytes = ptr(int64(4 << 20))
				}
				if i%3 == 0 {
					u.Executable.Limits.MemoryLimitBytes = ptr(int64(64 << 20))
				}
				cut(g, u)
				g.clear(u)
			}
			g.back(before)
			if !g.runs(stays) {
				t.Error("what wasn't killed has ended")
			}
		})
	}
}

// stays starts one that isn't killed, and waits until its program runs.
func (g *rig) stays() *process {
	p := g.start(g.unit())
	g.Eventually("its program runs", func() bool {
		return slices.Contains(g.processes(), fmt.Sprintf("/proc/%d /server", p.Pid()))
	})
	return p
}

// runs reports whether a process is still there.
func (g *rig) runs(p *process) bool {
	m, id := p.Look()
	return m.Alive(id)
}
