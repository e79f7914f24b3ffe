package docker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
	"plane/internal/runtime/docker"
)

func execs(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute)
	p := g.start(u)
	g.Outputs(g.r, u.Backend, "serves")
	x := p.(runtime.Execer)
	run := func(c runtime.Command) (int, string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr = &out, &errs
		code, err := x.Exec(g.Ctx(), c)
		if err != nil {
			t.Fatal(err)
		}
		return code, out.String(), errs.String()
	}
	if code, out, errs := run(runtime.Command{Argv: []string{"/server", "echo", "exit", "5"}, Stdin: strings.NewReader("hello")}); code != 5 || out != "HELLO" || errs != "errors" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if code, out, _ := run(runtime.Command{Argv: []string{"/server", "dial", "tcp", "127.0.0.1:8080", "env", "exit", "0"}}); code != 0 || !strings.HasPrefix(out, "dial: <nil>") || !strings.Contains(out, "SESSION_BACKEND_ID="+string(u.Backend)) {
		t.Errorf("it isn't in the same place: %d %q", code, out)
	}
	sizes := make(chan runtime.Size, 1)
	sizes <- runtime.Size{Rows: 33, Cols: 44}
	if _, out, _ := run(runtime.Command{Argv: []string{"/server", "tty", "33", "44", "exit", "0"}, TTY: true, Rows: 10, Cols: 20, Resize: sizes}); !strings.Contains(out, "33 44") {
		t.Errorf("no terminal of that size: %q", out)
	}
	if _, out, _ := run(runtime.Command{Argv: []string{"/server", "say", "shown", "exit", "0"}, TTY: true, Stdin: strings.NewReader("")}); !strings.Contains(out, "shown") {
		t.Errorf("the end of a terminal's input is the end of its output: %q", out)
	}
	if code, _, _ := run(runtime.Command{Argv: []string{"/nothing"}}); code == 0 {
		t.Error("a command that isn't there succeeds")
	}
	_ = p.Stop(g.Ctx(), plane.Hard)
	g.wait(p)
	if _, err := x.Exec(g.Ctx(), runtime.Command{Argv: []string{"/server"}}); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("of one that ended: %v", err)
	}
}

// execsGivenUp: at no moment of its life does a command survive its asker.
func execsGivenUp(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute)
	p := g.start(u)
	g.Outputs(g.r, u.Backend, "serves")
	x := p.(runtime.Execer)
	// give starts a command and gives it up when said to, or that much later.
	give := func(after time.Duration, when <-chan struct{}) {
		t.Helper()
		ctx, cancel := context.WithCancel(g.Ctx())
		defer cancel()
		out := started{seen: cancel}
		if when != nil || after > 0 {
			out.seen = func() {}
		}
		done := make(chan error, 1)
		go func() {
			_, err := x.Exec(ctx, runtime.Command{Argv: []string{"/server", "say", "up", "stubborn", "sleep"}, Stdout: &out})
			done <- err
		}()
		if when != nil {
			<-when
		}
		if after > 0 {
			<-time.After(after)
		}
		if after > 0 || when != nil {
			cancel()
		}
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
	}
	dead := func() bool { return !g.runs(u.Backend, "stubborn") }
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { give(0, nil) }) // at its first output: the engine may not know its pid yet
	}
	for _, after := range []time.Duration{time.Nanosecond, 2 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond, 60 * time.Millisecond} {
		all.Go(func() { give(after, nil) })
	}
	all.Wait()
	g.Eventually("commands given up are killed", dead)
	// While the engine is stopped: one that runs at once, one that it has been
	// asked for when it wakes.
	frozen := make(chan struct{})
	go func() {
		defer close(frozen)
		g.Eventually("the command runs", func() bool { return !dead() })
		g.engine.Freeze(t)
	}()
	give(0, frozen)
	if !dead() {
		t.Error("a command outlives its asker while the engine is stopped")
	}
	go g.engine.Thaw(t)
	for _, after := range []time.Duration{time.Millisecond, 20 * time.Millisecond} {
		frozen := make(chan struct{})
		go func() {
			defer close(frozen)
			<-time.After(after)
			g.engine.Freeze(t)
			time.AfterFunc(100*time.Millisecond, func() { g.engine.Thaw(t) })
		}()
		give(0, frozen)
	}
	if code, err := x.Exec(g.Ctx(), runtime.Command{Argv: []string{"/server", "exit", "0"}}); code != 0 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
	g.Eventually("the command is killed", dead)
	if !dronetest.Alive(p.Pid()) {
		t.Error("the backend ended with the commands")
	}
}

// started tells when something is written.
type started struct{ seen func() }

func (s *started) Write(p []byte) (int, error) {
	s.seen()
	return len(p), nil
}

func source(t *testing.T) {
	s, err := docker.OpenSource(engine(t).Host)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if id, err := s.Inspect(t.Context(), "server"); err != nil || !strings.HasPrefix(id, "sha256:") {
		t.Errorf("%q, %v", id, err)
	}
	r, err := s.Save(t.Context(), "server")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || !bytes.Contains(b, []byte("manifest.json")) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := s.Inspect(t.Context(), "nowhere"); err == nil {
		t.Error("an image that isn't there is found")
	}
}

// cutShort: an agent died between the steps of a start.
func cutShort(t *testing.T) {
	g := newRig(t)
	for state, runs := range map[string]bool{"guarded": false, "made": false, "running": true, "ended": false} {
		u := g.unit(time.Minute, "sleep")
		u.Doors = ""
		if state == "ended" {
			u.Executable.Command = []string{"/server", "say", "so", "exit", "6"}
		}
		c, err := g.r.Connect(g.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Guard(g.Ctx(), warden.Order{Backend: u.Backend, Key: u.Key.Hash(), Policy: u.Policy, Epoch: 1, Deadline: u.Deadline, Port: 8080, Runtime: "docker"}); err != nil {
			t.Fatal(err)
		}
		if state != "guarded" {
			verb := map[string][]string{"made": {"create"}, "running": {"run", "-d"}, "ended": {"run"}}[state]
			args := append(verb, "--network", "none", "--label", "dev.plane.backend=true", "--label", "dev.plane.drone="+g.home.Hash(), "--name", containerOf(u.Backend),
				"--env", "PLANE_MARKER="+g.home.Hash()+":"+string(u.Backend), "--entrypoint", "/server", "server")
			out, _ := g.dockerSays(append(args, u.Executable.Command[1:]...)...)
			t.Logf("%s: %s", state, out)
		}
		found, err := g.r.Found(g.Ctx())
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: found %v, %v", state, found, err)
		}
		p, err := g.r.Attach(g.Ctx(), u.Backend)
		if err != nil {
			t.Fatal(err)
		}
		if runs {
			brief, cancel := context.WithTimeout(g.Ctx(), 300*time.Millisecond)
			if _, err := p.Wait(brief); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", state, err)
			}
			cancel()
			if !dronetest.Alive(p.Pid()) {
				t.Errorf("%s: its pid isn't known", state)
			}
			_ = p.Stop(g.Ctx(), plane.Hard)
		}
		exit := g.wait(p)
		if state == "ended" && (exit.Code == nil || *exit.Code != 6 || exit.Output != "so") {
			t.Errorf("%s: %+v", state, exit)
		}
		if err := p.Forget(g.Ctx()); err != nil {
			t.Fatal(err)
		}
		if left := g.containers("-aq"); left != "" {
			t.Errorf("%s: %s is left", state, left)
		}
	}
}

func outputs(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "say", "one", "say", "two", "say", "three", "sleep")
	p := g.start(u)
	g.Outputs(g.r, u.Backend, "three\n")
	r, err := g.r.Output(g.Ctx(), u.Backend, 2, true)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_ = p.Stop(g.Ctx(), plane.Soft)
	if b, err := io.ReadAll(r); err != nil || string(b) != "two\nthree\n" {
		t.Errorf("followed %q, %v", b, err)
	}
	g.wait(p)
	if got := g.Output(g.r, u.Backend); got != "one\ntwo\nthree\n" {
		t.Errorf("kept %q", got)
	}
}
