package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	planeruntime "plane/internal/runtime"
)

// exec runs a command beside a backend.
func (g *rig) exec(p *process, argv ...string) (int, string) {
	g.t.Helper()
	var out bytes.Buffer
	code, err := p.Exec(g.Ctx(), planeruntime.Command{Argv: argv, Stdout: &out, Stderr: &out, Stdin: strings.NewReader("in\n")})
	if err != nil {
		g.t.Fatal(err)
	}
	return code, out.String()
}

func TestExecRunsInTheBackendsPlace(t *testing.T) {
	for _, launcher := range []string{"crun", "runc"} {
		t.Run(launcher, func(t *testing.T) {
			g := newRig(t, func(o *Options) { o.Runtime = launcher })
			u := g.unit()
			u.Env, u.Executable.User = []string{"OWN=1"}, "app"
			u.Executable.Limits = plane.ResourceLimits{MemoryLimitBytes: ptr(int64(64 << 20)), OpenFilesLimit: ptr(int64(99))}
			p := g.start(u)
			code, out := g.exec(p, "/server", "show", "id", "env", "limits", "/proc/self/status")
			if code != 0 {
				t.Errorf("exit %d", code)
			}
			says(t, out, "id 1000 1001 [44] / "+string(u.Backend), "OWN=1", "NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000")
			if !strings.Contains(out, " 99\n") {
				t.Errorf("without its limits:\n%s", out)
			}
			if code, out := g.exec(p, "/server", "exit", "7"); code != 7 || !strings.Contains(out, "bye") {
				t.Errorf("exit %d, %q", code, out)
			}
			if code, out := g.exec(p, "/none"); code == 0 || out == "" {
				t.Errorf("what isn't there: %d, %q", code, out)
			}
			began := time.Now()
			g.exec(p, "/server", "exit", "0")
			t.Logf("one exec takes %v", time.Since(began))
			ended(t, g, p)
		})
	}
}

// ended: an exec that runs is in the backend's cgroups, ends with its caller's
// context, and with the backend.
func ended(t *testing.T, g *rig, p *process) {
	run := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := p.Exec(ctx, planeruntime.Command{Argv: []string{"/server", "lingers"}, Stdout: io.Discard, Stderr: io.Discard})
			done <- err
		}()
		return done
	}
	own, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Pid()))
	count := func() int {
		m, id := p.Look()
		pids, _ := m.Procs(id)
		n := 0
		for _, pid := range pids {
			cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			groups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			if string(cmd) == "/server\x00lingers\x00" && within(string(groups), string(own)) {
				n++
			}
		}
		return n
	}
	ctx, cancel := context.WithCancel(g.Ctx())
	defer cancel()
	done := run(ctx)
	g.Eventually("it runs in the backend's cgroups", func() bool { return count() == 1 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	g.Eventually("it is gone", func() bool { return count() == 0 })
	done = run(g.Ctx())
	g.Eventually("it runs", func() bool { return count() == 1 })
	if err := p.Stop(g.Ctx(), plane.Hard); err != nil {
		t.Fatal(err)
	}
	g.wait(p)
	<-done
	if _, err := p.Exec(g.Ctx(), planeruntime.Command{Argv: []string{"/server"}}); !errors.Is(err, planeruntime.ErrGone) {
		t.Errorf("of one that ended: %v", err)
	}
}

// within reports whether a process is in those cgroups, or in ones below them.
func within(groups, own string) bool {
	mine := strings.Split(strings.TrimSpace(own), "\n")
	for i, line := range strings.Split(strings.TrimSpace(groups), "\n") {
		if i >= len(mine) || line != mine[i] && !strings.HasPrefix(line, mine[i]+"/exec-") {
			return false
		}
	}
	return true
}

func TestExecHasATerminal(t *testing.T) {
	for _, launcher := range []string{"crun", "runc"} {
		t.Run(launcher, func(t *testing.T) {
			g := newRig(t, func(o *Options) { o.Runtime = launcher })
			p := g.start(g.unit())
			in, keys := io.Pipe()
			defer keys.Close()
			var out dronetest.Screen
			sizes := make(chan planeruntime.Size)
			done := make(chan int, 1)
			go func() {
				code, err := p.Exec(g.Ctx(), planeruntime.Command{
					Argv: []string{"/server", "terminal"}, TTY: true, Rows: 31, Cols: 77, Resize: sizes, Stdin: in, Stdout: &out,
				})
				if err != nil {
					t.Error(err)
				}
				done <- code
			}()
			g.Eventually("it has its first size", func() bool { return strings.Contains(out.String(), "size 31 77") })
			sizes <- planeruntime.Size{Rows: 40, Cols: 100}
			g.Eventually("it has its next size", func() bool { return strings.Contains(out.String(), "size 40 100") })
			_, _ = keys.Write([]byte("word\r"))
			g.Eventually("it reads", func() bool { return strings.Contains(out.String(), "read word") })
			if code := <-done; code != 5 {
				t.Errorf("exit %d", code)
			}
		})
	}
}
