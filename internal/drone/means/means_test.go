package means

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plane"
)

// both runs a test with the best means of this system and with the portable ones.
func both(t *testing.T, f func(t *testing.T, m *Means)) {
	for _, kind := range []string{"", Portable} {
		t.Run("means="+kind, func(t *testing.T) {
			t.Setenv("PLANE_MEANS", kind)
			m := New(fmt.Sprintf("t%x", time.Now().UnixNano()), slog.New(slog.DiscardHandler))
			t.Cleanup(m.Tidy)
			f(t, m)
		})
	}
}

func start(t *testing.T, m *Means, x plane.Executable, env ...string) (Started, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	id := plane.BackendID(fmt.Sprintf("b%d", time.Now().UnixNano()))
	s, err := m.Start(Program{Backend: id, Executable: x, Env: append([]string{"PATH=/usr/bin:/bin"}, env...), Output: w, Group: group(m)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		m.Kill(s.Identity)
		_ = kill(s.Identity.Pid, sigKill)
		eventually(t, "nothing is left", func() bool { p, err := m.Procs(s.Identity); return err == nil && len(p) == 0 })
		reapTest(m, s)
		m.Clean(Identity{Backend: id})
	})
	return s, r
}

func reapTest(m *Means, s Started) {
	m.Status(NewHandle(s.Identity, -1))
	m.Reap(s.Identity.Pid)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func line(t *testing.T, r *os.File) string {
	t.Helper()
	_ = r.SetReadDeadline(time.Now().Add(5 * time.Second))
	var b []byte
	one := make([]byte, 1)
	for {
		if _, err := r.Read(one); err != nil {
			t.Fatalf("after %q: %v", b, err)
		}
		if one[0] == '\n' {
			return string(b)
		}
		b = append(b, one[0])
	}
}

func TestTrap53_GrandchildrenAreReached(t *testing.T) {
	for name, script := range map[string]string{
		"background":   `sleep 60 & echo up; wait`,
		"setsid":       `setsid sleep 60 & sleep 0.1; echo up; wait`,
		"double fork":  `(setsid sh -c 'sleep 60 & sleep 60 & exit' &) ; sleep 0.1; echo up; sleep 60`,
		"leader ended": `(setsid sleep 60 &) ; sleep 0.1; echo up`,
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, m *Means) {
				s, r := start(t, m, plane.Executable{Command: []string{"sh", "-c", script}})
				line(t, r)
				if pids, err := m.Procs(s.Identity); err != nil || len(pids) == 0 {
					t.Fatalf("found %v, %v", pids, err)
				}
				eventually(t, "all are gone", func() bool {
					m.Kill(s.Identity)
					pids, err := m.Procs(s.Identity)
					return err == nil && len(pids) == 0
				})
				for _, p := range listProcs() {
					if newCensus().marked(p.Pid, m.mark(s.Identity.Backend)) {
						t.Errorf("process %d was not found", p.Pid)
					}
				}
			})
		})
	}
}

func TestAnotherProcessOfTheSameNumberIsSpared(t *testing.T) {
	both(t, func(t *testing.T, m *Means) {
		s, r := start(t, m, plane.Executable{Command: []string{"sh", "-c", "echo up; sleep 60"}})
		line(t, r)
		wrong := Identity{Backend: "someone", Pid: s.Identity.Pid, Start: s.Identity.Start + 1}
		m.Kill(wrong)
		m.Terminate(wrong)
		if h := m.OpenHandle(wrong); h != nil {
			t.Error("a handle on another process")
		}
		if !m.Alive(s.Identity) {
			t.Error("killed another process")
		}
	})
}

func TestEndAndStatusAreSeen(t *testing.T) {
	both(t, func(t *testing.T, m *Means) {
		for script, want := range map[string]plane.Exit{
			"exit 7":        exited(7),
			"kill -TERM $$": signalled(15),
			"exit 0":        exited(0),
		} {
			s, _ := start(t, m, plane.Executable{Command: []string{"sh", "-c", script}})
			h := NewHandle(s.Identity, s.Pidfd)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := m.Ended(ctx, h); err != nil {
				t.Fatal(err)
			}
			cancel()
			got, mine, known := m.Status(h)
			if !mine || !known || got.Code == nil || *got.Code != *want.Code || got.Signal != want.Signal {
				t.Errorf("%s: %+v mine=%v known=%v", script, got, mine, known)
			}
			h.Close()
		}
	})
}

func TestWaitingForAnEndCanBeGivenUp(t *testing.T) {
	both(t, func(t *testing.T, m *Means) {
		s, _ := start(t, m, plane.Executable{Command: []string{"sleep", "60"}})
		h := NewHandle(s.Identity, s.Pidfd)
		defer h.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := m.Ended(ctx, h); err == nil {
			t.Error("ended?")
		}
	})
}

func TestStartSaysHowToMendIt(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	script := filepath.Join(dir, "script")
	for f, mode := range map[string]os.FileMode{plain: 0o644, script: 0o755} {
		if err := os.WriteFile(f, []byte("echo hi"), mode); err != nil {
			t.Fatal(err)
		}
	}
	m := New("terr", slog.New(slog.DiscardHandler))
	t.Cleanup(func() { m.Clean(Identity{Backend: "x"}); m.Tidy() })
	for _, c := range []struct {
		x    plane.Executable
		want string
	}{
		{plane.Executable{Command: []string{"no-such-program"}}, "install it"},
		{plane.Executable{Command: []string{"./nothing"}, Dir: dir}, "build it"},
		{plane.Executable{Command: []string{plain}}, "chmod +x"},
		{plane.Executable{Command: []string{script}}, "#!/bin/sh"},
		{plane.Executable{Command: []string{dir}}, "is a directory"},
		{plane.Executable{Command: []string{"sh"}, Dir: filepath.Join(dir, "none")}, "does not exist; create it"},
		{plane.Executable{Command: []string{"sh"}, Dir: plain}, "not a directory"},
	} {
		_, err := m.Start(Program{Backend: "x", Executable: c.x, Env: []string{"PATH=/bin:/usr/bin"}, Output: os.Stderr, Group: group(m)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.x.Command, err)
		}
	}
}

func TestEnvironmentIsWhatWasGivenAndTheLastCounts(t *testing.T) {
	both(t, func(t *testing.T, m *Means) {
		t.Setenv("OF_THE_WARDEN", "x")
		_, r := start(t, m, plane.Executable{Command: []string{"sh", "-c", `echo "$A $B ${OF_THE_WARDEN-none}"`}}, "A=1", "B=2", "A=3")
		if got := line(t, r); got != "3 2 none" {
			t.Errorf("got %q", got)
		}
	})
}

func TestDescriptorLimitAndListenerGoThroughTheShell(t *testing.T) {
	both(t, func(t *testing.T, m *Means) {
		n := int64(64)
		_, r := start(t, m, plane.Executable{Command: []string{"sh", "-c", "ulimit -n"}, Limits: plane.ResourceLimits{OpenFilesLimit: &n}})
		if got := line(t, r); got != "64" {
			t.Errorf("limit is %q", got)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		pr, pw, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer pr.Close()
		s, err := m.Start(Program{
			Backend: "inherit", Env: []string{"PATH=/bin:/usr/bin"}, Output: pw, Listener: f, Group: group(m),
			Executable: plane.Executable{Command: []string{"sh", "-c", `test -e /dev/fd/3 && test "$LISTEN_PID" = $$ && echo "$LISTEN_FDS"`}},
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = pw.Close()
		if got := line(t, pr); got != "1" {
			t.Errorf("got %q", got)
		}
		eventually(t, "end", func() bool { return !m.Alive(s.Identity) })
		reapTest(m, s)
		m.Clean(Identity{Backend: "inherit"})
	})
}

func TestTrap56_MemoryAndProcessLimitsAreInForceOrWarned(t *testing.T) {
	both(t, func(t *testing.T, m *Means) {
		mem, pids := int64(64<<20), int64(8)
		s, r := start(t, m, plane.Executable{
			Command: []string{"sh", "-c", `echo up; head -c 300000000 /dev/zero | tail -c 299999999 | wc -c`},
			Limits:  plane.ResourceLimits{MemoryLimitBytes: &mem, PidsLimit: &pids},
		})
		line(t, r)
		if len(s.Warnings) > 0 {
			t.Logf("warned: %v", s.Warnings)
			if again := m.warn("memory", "x"); again != nil {
				t.Error("warned twice")
			}
			return
		}
		eventually(t, "the kernel kills for memory", func() bool { return m.OutOfMemory(s.Identity) })
	})
}

func TestStraysAreFoundByWhatTheyCarry(t *testing.T) {
	both(t, func(t *testing.T, m *Means) {
		s, r := start(t, m, plane.Executable{Command: []string{"sh", "-c", "setsid sleep 60 & sleep 0.1; echo up; wait"}})
		line(t, r)
		found := false
		for _, id := range m.Strays() {
			found = found || id.Backend == s.Identity.Backend
		}
		if !found {
			t.Errorf("strays: %v", m.Strays())
		}
	})
}

func group(m *Means) Group {
	if m.Cgroups() {
		return OwnGroup
	}
	return NoGroup
}
