package dronetest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// Rig is a drone without an agent: the test is the agent.
type Rig struct {
	t    testing.TB
	home home.Home

	// Patience is how long things are waited for.
	Patience time.Duration
}

// New makes a rig with a data directory, which goes at the end of the test.
func New(t testing.TB) *Rig {
	t.Helper()
	// Not t.TempDir: the paths of its sockets would be too long.
	dir, err := os.MkdirTemp("", "plane")
	if err != nil {
		t.Fatal(err)
	}
	h, err := home.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return &Rig{t: t, home: h, Patience: 30 * time.Second}
}

// Home is its data directory.
func (g *Rig) Home() home.Home { return g.home }

// Ctx is for one question.
func (g *Rig) Ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), g.Patience)
	g.t.Cleanup(cancel)
	return ctx
}

// Eventually waits until ok.
func (g *Rig) Eventually(what string, ok func() bool) {
	g.t.Helper()
	Eventually(g.t, g.Patience, what, ok)
}

// Eventually waits until ok, for as long as patience lasts.
func Eventually(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// Pid is that of a part, "warden" or "reaper", when it runs.
func (g *Rig) Pid(part string) (pid int) {
	g.t.Helper()
	g.Eventually(part+" runs", func() bool {
		var held bool
		pid, held = g.home.Holder(part)
		return held && pid != 0
	})
	return pid
}

// Signal sends a signal to a part and returns its pid. A stop has happened then,
// and ends with the test.
func (g *Rig) Signal(part string, sig syscall.Signal) int {
	g.t.Helper()
	pid := g.Pid(part)
	if err := syscall.Kill(pid, sig); err != nil {
		g.t.Fatal(err)
	}
	if sig == syscall.SIGSTOP {
		g.t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		g.Eventually("it is stopped", func() bool { return strings.Contains(Stat(pid), ") T ") })
	}
	return pid
}

// Replaced waits until a part runs as another process than old.
func (g *Rig) Replaced(part string, old int) {
	g.t.Helper()
	g.Eventually(part+" is replaced", func() bool {
		pid, held := g.home.Holder(part)
		return held && pid != old && pid != 0
	})
}

// Settled waits until the reaper has said in its log that it is connected to the
// present warden.
func (g *Rig) Settled() {
	g.t.Helper()
	reaper := g.Pid("reaper")
	g.Eventually("they talk to each other", func() bool {
		w, err := warden.Probe(g.Ctx(), g.home)
		if err != nil {
			return false
		}
		all := g.log("warden")
		i := strings.LastIndex(all, fmt.Sprintf("serving pid=%d", w.Pid))
		return i >= 0 && strings.Contains(all[i:], fmt.Sprintf(`msg="reaper connected" pid=%d`, reaper))
	})
}

func (g *Rig) log(part string) string {
	b, _ := os.ReadFile(g.home.Log(part))
	return string(b)
}

// Table is that of deadlines.
func (g *Rig) Table() *table.Table {
	g.t.Helper()
	tb, err := table.Open(g.home.TableFile())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = tb.Close() })
	return tb
}

// Output is what a backend has written so far.
func (g *Rig) Output(of runtime.Logger, id plane.BackendID) string {
	r, err := of.Output(g.Ctx(), id, 0, false)
	if err != nil {
		return ""
	}
	defer r.Close()
	b, _ := io.ReadAll(r)
	return string(b)
}

// Outputs waits until a backend has written text.
func (g *Rig) Outputs(of runtime.Logger, id plane.BackendID, text string) {
	g.t.Helper()
	g.Eventually(string(id)+" writes "+text, func() bool { return strings.Contains(g.Output(of, id), text) })
}

// File gives a path for a script to write to.
func (g *Rig) File(name string) string { return filepath.Join(g.home.Dir, name) }

// Fifo makes a pipe with a name that a script may wait on; Open lets it go on.
func (g *Rig) Fifo(name string) string {
	g.t.Helper()
	if err := syscall.Mkfifo(g.File(name), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return g.File(name)
}

// Open lets a script go on that waits on a pipe.
func (g *Rig) Open(name string) {
	g.t.Helper()
	f, err := os.OpenFile(g.File(name), os.O_WRONLY, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	_, _ = f.WriteString("go\n")
	_ = f.Close()
}

// End makes absent and forgets what runs, which a runtime tells that asks the
// warden.
func (g *Rig) End(r runtime.Runtime) {
	if _, held := g.home.Holder("warden"); !held {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	found, err := r.Found(ctx)
	if err != nil {
		g.t.Errorf("at the end: %v", err)
	}
	var all sync.WaitGroup
	for _, f := range found {
		all.Go(func() {
			p, err := r.Attach(ctx, f.Backend)
			if err != nil {
				return
			}
			_ = p.Stop(ctx, plane.Hard)
			if _, err := p.Wait(ctx); err != nil {
				g.t.Errorf("at the end: %s: %v", f.Backend, err)
			}
			if err := p.Forget(ctx); err != nil {
				g.t.Errorf("at the end: %s: %v", f.Backend, err)
			}
		})
	}
	all.Wait()
}

// Leave waits until the parts have left, looks that nothing runs, and shows their
// logs if the test has failed. left is what they had between them and haven't
// removed: the next ones will.
func (g *Rig) Leave() (left []string) {
	for _, part := range []string{"warden", "reaper"} {
		g.Eventually(part+" leaves", func() bool { _, held := g.home.Holder(part); return !held })
	}
	m := means.New(g.home.Hash(), slog.New(slog.DiscardHandler))
	if s := m.Strays(); len(s) > 0 {
		g.t.Errorf("left running: %v", s)
		m.Kill(s...)
	}
	m.Tidy()
	for _, path := range []string{m.Base(), g.home.TableFile()} {
		if _, err := os.Stat(path); path != "" && err == nil {
			left = append(left, path)
		}
	}
	for _, part := range []string{"reaper", "warden"} {
		text := g.log(part)
		if strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") {
			g.t.Errorf("the %s has a fault", part)
		}
		if g.t.Failed() {
			g.t.Logf("%s.log:\n%s", part, text)
		}
	}
	return left
}

// Stat is what the system tells of a process, "" if there is none.
func Stat(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return string(b)
}

// Alive reports whether a process is there that isn't a zombie.
func Alive(pid int) bool {
	s := Stat(pid)
	return s != "" && !strings.Contains(s, ") Z ")
}
