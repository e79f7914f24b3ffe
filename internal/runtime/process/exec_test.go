package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
	"plane/internal/runtime/line"
	"plane/internal/runtime/process"
)

// everywhere runs a test with the best means of this system and with the
// portable ones.
func everywhere(t *testing.T, f func(t *testing.T, g *rig)) {
	for _, kind := range []string{"best", means.Portable} {
		t.Run(kind, func(t *testing.T) {
			t.Setenv("PLANE_MEANS", kind)
			f(t, newRig(t))
		})
	}
}

// guest is a command that runs in a backend.
type guest struct {
	out  dronetest.Screen
	exit int
	err  error
	done chan struct{}
}

// begin runs a script in a backend; both its outputs are one.
func (g *rig) begin(ctx context.Context, p runtime.Process, u runtime.Unit, script string, change ...func(*runtime.Command)) *guest {
	x := &guest{done: make(chan struct{})}
	c := runtime.Command{Unit: u, Argv: []string{"sh", "-c", script}, Stdout: &x.out, Stderr: &x.out}
	for _, f := range change {
		f(&c)
	}
	go func() {
		defer close(x.done)
		x.exit, x.err = p.(runtime.Execer).Exec(ctx, c)
	}()
	return x
}

func (g *rig) ended(x *guest) {
	g.t.Helper()
	select {
	case <-x.done:
	case <-time.After(30 * time.Second):
		g.t.Fatalf("it goes on; so far %q", x.out.String())
	}
}

func (g *rig) exec(p runtime.Process, u runtime.Unit, script string, change ...func(*runtime.Command)) (int, string) {
	g.t.Helper()
	x := g.begin(g.Ctx(), p, u, script, change...)
	g.ended(x)
	if x.err != nil {
		g.t.Fatal(x.err)
	}
	return x.exit, x.out.String()
}

func TestACommandHasTheBackendsPlace(t *testing.T) {
	everywhere(t, func(t *testing.T, g *rig) {
		u := g.unit("sleep 60", time.Minute)
		files, memory := int64(77), int64(64<<20)
		u.Executable.Limits = plane.ResourceLimits{OpenFilesLimit: &files, MemoryLimitBytes: &memory}
		u.Executable.Dir = t.TempDir()
		u.Env = append(u.Env, "SESSION_BACKEND_ID="+string(u.Backend), "odd.name=kept")
		p := g.start(u)
		var trouble dronetest.Screen // two pipes: no order between them
		exit, out := g.exec(p, u, `pwd; ulimit -n; echo "$SESSION_BACKEND_ID"; tr '\0' '\n' < /proc/$$/environ | grep odd; cat; echo trouble >&2; exit 7`, func(c *runtime.Command) {
			c.Stdin, c.Stderr = strings.NewReader("said\n"), &trouble
		})
		if want := u.Executable.Dir + "\n77\n" + string(u.Backend) + "\nodd.name=kept\nsaid\n"; exit != 7 || out != want || trouble.String() != "trouble\n" {
			t.Errorf("exit %d; it says %q and %q, not %q", exit, out, trouble.String(), want)
		}
		if exit, _ := g.exec(p, u, "kill -TERM $$"); exit != 128+int(syscall.SIGTERM) {
			t.Errorf("ended by a signal, it has exit code %d", exit)
		}
		if os.Getenv("PLANE_MEANS") != means.Portable {
			_, out := g.exec(p, u, "cat /proc/self/cgroup")
			own, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Pid()))
			for line := range strings.Lines(string(own)) {
				if !strings.Contains(out, strings.TrimSpace(line)) {
					t.Errorf("it isn't in the backend's cgroup %q, but in %q", line, out)
				}
			}
		}
		x := g.begin(g.Ctx(), p, u, "", func(c *runtime.Command) { c.Argv = []string{"nothing-of-that-name"} })
		if g.ended(x); x.err == nil || !strings.Contains(x.err.Error(), "was not found in PATH") {
			t.Errorf("what isn't there: %v", x.err)
		}
	})
}

func TestACommandHasATerminal(t *testing.T) {
	everywhere(t, func(t *testing.T, g *rig) {
		u := g.unit("sleep 60", time.Minute)
		p := g.start(u)
		in, keys := io.Pipe()
		defer keys.Close()
		sizes := make(chan runtime.Size)
		x := g.begin(g.Ctx(), p, u, `echo "$TERM"; stty size; while read line; do echo "<$line> $(stty size)"; done; exit 4`, func(c *runtime.Command) {
			c.TTY, c.Rows, c.Cols, c.Stdin, c.Resize = true, 31, 77, in, sizes
		})
		g.Eventually("it has its first size", func() bool { return strings.Contains(x.out.String(), "xterm\r\n31 77\r\n") })
		sizes <- runtime.Size{Rows: 40, Cols: 100}
		g.Eventually("it reads, and has its next size", func() bool {
			_, _ = io.WriteString(keys, "word\n")
			return strings.Contains(x.out.String(), "<word> 40 100")
		})
		_ = keys.Close() // which is the key for the end of input
		if g.ended(x); x.err != nil || x.exit != 4 {
			t.Errorf("exit %d, %v; %q", x.exit, x.err, x.out.String())
		}
	})
}

// tree is a command whose processes get away as far as they can. It says their
// numbers, and ends when its input does.
const tree = `
(setsid sh -c 'trap "" TERM HUP INT; echo $$; exec sleep 300' &)
sh -c 'trap "" TERM HUP INT; echo $$; sleep 300; :' &
echo $$
cat > /dev/null
echo over
`

// pids waits for the numbers that tree says.
func (g *rig) pids(x *guest) (all []int) {
	g.t.Helper()
	g.Eventually("its processes run", func() bool {
		all = nil
		for f := range strings.FieldsSeq(x.out.String()) {
			var pid int
			if _, err := fmt.Sscan(f, &pid); err == nil {
				all = append(all, pid)
			}
		}
		return len(all) == 3
	})
	return all
}

func (g *rig) allGone(pids []int) {
	g.t.Helper()
	for _, pid := range pids {
		g.Eventually(fmt.Sprintf("process %d is gone", pid), func() bool { return !dronetest.Alive(pid) })
	}
}

func TestACommandEndsWhole(t *testing.T) {
	everywhere(t, func(t *testing.T, g *rig) {
		u := g.unit("sleep 60", time.Minute)
		p := g.start(u)
		asked, leave := context.WithCancelCause(g.Ctx())
		left := errors.New("the asker left")
		in, keys := io.Pipe()
		defer keys.Close()
		open := func(c *runtime.Command) { c.Stdin = in }

		x := g.begin(asked, p, u, tree, open)
		pids := g.pids(x)
		leave(left)
		if g.ended(x); !errors.Is(x.err, left) {
			t.Errorf("when its asker leaves: %v", x.err)
		}
		g.allGone(pids)

		// What it leaves behind ends with it, and input that stays open holds
		// nothing up.
		x = g.begin(g.Ctx(), p, u, strings.Replace(tree, "cat > /dev/null", "while [ ! -e "+g.File("go")+" ]; do sleep 0.02; done", 1), open)
		pids = g.pids(x)
		if err := os.WriteFile(g.File("go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if g.ended(x); x.err != nil || x.exit != 0 || !strings.HasSuffix(x.out.String(), "over\n") {
			t.Errorf("exit %d, %v, %q", x.exit, x.err, x.out.String())
		}
		g.allGone(pids)
		if !dronetest.Alive(p.Pid()) {
			t.Error("the backend ended with a command")
		}
		m := means.New(g.home.Hash(), slog.New(slog.DiscardHandler))
		if entries, _ := os.ReadDir(m.Base() + "/" + string(u.Backend)); m.Cgroups() {
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), "exec-") {
					t.Errorf("cgroup %s is left", e.Name())
				}
			}
		}

		// With the backend, which doesn't wait for it.
		x = g.begin(g.Ctx(), p, u, tree, open)
		pids = g.pids(x)
		if err := p.Stop(g.Ctx(), plane.Soft); err != nil {
			t.Fatal(err)
		}
		g.wait(p)
		for _, pid := range pids {
			if dronetest.Alive(pid) {
				t.Errorf("process %d outlives the backend", pid)
			}
		}
		if g.ended(x); !errors.Is(x.err, line.ErrEnded) {
			t.Errorf("when the backend ends: %d, %v", x.exit, x.err)
		}
		x = g.begin(g.Ctx(), p, u, "echo hello")
		if g.ended(x); !errors.Is(x.err, runtime.ErrGone) {
			t.Errorf("in a backend that has ended: %v", x.err)
		}
	})
}

func TestOutputOfACommandIsWhole(t *testing.T) {
	everywhere(t, func(t *testing.T, g *rig) {
		u := g.unit("sleep 60", time.Minute)
		p := g.start(u)
		if exit, out := g.exec(p, u, "head -c 1000000 /dev/zero | tr '\\0' x; echo end"); exit != 0 || len(out) != 1000004 || !strings.HasSuffix(out, "xend\n") {
			t.Errorf("exit %d, %d bytes", exit, len(out))
		}
		if exit, out := g.exec(p, u, "head -c 60000 /dev/zero | tr '\\0' y; sleep 300 & exit 5"); exit != 5 || len(out) != 60000 {
			t.Errorf("exit %d, %d bytes", exit, len(out))
		}
		// Somebody who is none of it holds the pipe open, and its output is whole
		// all the same.
		x := g.begin(g.Ctx(), p, u, "echo $$; read go; head -c 60000 /dev/zero | tr '\\0' y; exit 5", func(c *runtime.Command) {
			in, keys := io.Pipe()
			c.Stdin = in
			t.Cleanup(func() { _ = keys.Close() })
			go func() {
				defer func() { _, _ = io.WriteString(keys, "go\n") }()
				pid := ""
				for end := time.Now().Add(30 * time.Second); !strings.HasSuffix(pid, "\n") && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
					pid = c.Stdout.(*dronetest.Screen).String()
				}
				f, err := os.OpenFile("/proc/"+strings.TrimSpace(pid)+"/fd/1", os.O_WRONLY, 0)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { _ = f.Close() })
			}()
		})
		if g.ended(x); x.err != nil || x.exit != 5 || strings.Count(x.out.String(), "y") != 60000 {
			t.Errorf("exit %d, %v, %d bytes", x.exit, x.err, len(x.out.String()))
		}
		// It is taken only after the command's end.
		late := &patient{}
		x = g.begin(g.Ctx(), p, u, "echo $$; head -c 60000 /dev/zero | tr '\\0' z; exit 6", func(c *runtime.Command) { c.Stdout = late })
		if g.ended(x); x.err != nil || x.exit != 6 || strings.Count(late.String(), "z") != 60000 {
			t.Errorf("exit %d, %v, %d bytes", x.exit, x.err, len(late.String()))
		}
		// Nobody takes it.
		taken := errors.New("takes no more")
		x = g.begin(g.Ctx(), p, u, "cat /dev/zero", func(c *runtime.Command) { c.Stdout = refusing{taken} })
		if g.ended(x); x.err != nil || x.exit != 128+int(syscall.SIGPIPE) {
			t.Errorf("exit %d, %v", x.exit, x.err)
		}
	})
}

// patient takes nothing before the process has ended whose number it is told first.
type patient struct {
	dronetest.Screen
	told bool
}

func (p *patient) Write(b []byte) (int, error) {
	if !p.told {
		pid, _, _ := strings.Cut(string(b), "\n")
		number, _ := strconv.Atoi(pid)
		for end := time.Now().Add(30 * time.Second); dronetest.Alive(number) && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		}
		<-time.After(50 * time.Millisecond) // its end has been seen
	}
	p.told = true
	return p.Screen.Write(b)
}

type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }

// execAgent is an agent of another process that runs a command in a backend,
// with its output in a file, until it is killed.
func execAgent(dir, id, script, output string) {
	h, err := home.New(dir)
	if err != nil {
		panic(err)
	}
	out, err := os.Create(output)
	if err != nil {
		panic(err)
	}
	r := process.New(func(ctx context.Context) (*warden.Client, error) { return warden.Connect(ctx, h) }, process.Options{Home: h})
	p, err := r.Attach(context.Background(), plane.BackendID(id))
	if err != nil {
		panic(err)
	}
	_, _ = p.(runtime.Execer).Exec(context.Background(), runtime.Command{
		Unit: runtime.Unit{Env: []string{"PATH=/usr/bin:/bin"}}, Argv: []string{"sh", "-c", script}, Stdout: out, Stderr: out,
	})
}

// elsewhere runs tree in a backend, by another agent.
func (g *rig) elsewhere(u runtime.Unit) (agent *exec.Cmd, pids []int) {
	g.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		g.t.Fatal(err)
	}
	script := strings.Replace(tree, "cat > /dev/null", "sleep 300", 1)
	_ = os.Remove(g.File("said")) // of the one before
	agent = exec.Command(exe, "exec-agent", g.home.Dir, string(u.Backend), script, g.File("said"))
	agent.Stderr = os.Stderr
	if err := agent.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _, _ = agent.Process.Kill(), agent.Wait() })
	g.Eventually("its processes run", func() bool {
		pids = nil
		for f := range strings.FieldsSeq(g.read("said")) {
			pid, _ := strconv.Atoi(f)
			pids = append(pids, pid)
		}
		return len(pids) == 3
	})
	return agent, pids
}

// A command never outlives who runs it, and never its backend, whoever dies.
func TestACommandOutlivesNeitherAgentNorBackend(t *testing.T) {
	kill := func(agent *exec.Cmd) { _, _ = agent.Process.Kill(), agent.Wait() }
	everywhere(t, func(t *testing.T, g *rig) {
		g.r.Close() // the other one is the only agent
		start := func(life time.Duration) (runtime.Process, runtime.Unit) {
			u := g.unit("sleep 60", life)
			p := g.start(u)
			g.Settled()
			return p, u
		}

		p, u := start(time.Minute)
		g.r.Close()
		agent, pids := g.elsewhere(u)
		kill(agent)
		g.allGone(pids)
		if !dronetest.Alive(p.Pid()) {
			t.Fatal("the backend ended with an agent")
		}

		// Agent and warden at once: the next agent has it ended.
		agent, pids = g.elsewhere(u)
		was := g.Signal("warden", syscall.SIGSTOP)
		kill(agent)
		_ = syscall.Kill(was, syscall.SIGKILL)
		g.replaced("warden", was)
		p, err := g.r.Attach(g.Ctx(), u.Backend)
		if err != nil {
			t.Fatal(err)
		}
		g.allGone(pids)
		if !dronetest.Alive(p.Pid()) {
			t.Fatal("the backend ended with an agent")
		}

		// The deadline is kept with nobody there but the reaper.
		p, u = start(time.Minute)
		g.r.Close()
		agent, pids = g.elsewhere(u)
		was = g.Signal("warden", syscall.SIGSTOP)
		defer func() { _ = syscall.Kill(was, syscall.SIGCONT) }()
		kill(agent)
		g.Table().Shorten(u.Backend, leaseNow())
		g.allGone(append(pids, p.Pid()))
	})
}
