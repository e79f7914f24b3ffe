package fake_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"plane"
	"plane/internal/runtime"
	"plane/internal/runtime/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ runtime.Runtime  = (*fake.Runtime)(nil)
	_ runtime.Logger   = (*fake.Runtime)(nil)
	_ runtime.Meter    = (*fake.Process)(nil)
	_ runtime.Listener = (*fake.Process)(nil)
)

func port(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, p, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	n, _ := strconv.Atoi(p)
	return n
}

func start(t *testing.T, r *fake.Runtime, u runtime.Unit) runtime.Process {
	t.Helper()
	p, err := r.Start(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return p
}

func TestZeroValueRunsUntilAskedToEnd(t *testing.T) {
	r := &fake.Runtime{}
	u := runtime.Unit{Backend: "one", Port: port(t)}
	p := start(t, r, u)
	if again := start(t, r, u); again != p || r.Starts("one") != 1 {
		t.Error("start is not idempotent")
	}
	c, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := p.Stop(t.Context(), plane.Soft); err != nil {
		t.Fatal(err)
	}
	exit, err := p.Wait(t.Context())
	if err != nil || *exit.Code != 143 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	if err := p.Stop(t.Context(), plane.Hard); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("stop of what ended: %v", err)
	}
	found, _ := r.Found(t.Context())
	if len(found) != 1 || found[0].Exit == nil {
		t.Errorf("found %+v", found)
	}
	_ = p.Forget(t.Context())
	if _, err := r.Attach(t.Context(), "one"); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("attach of what was forgotten: %v", err)
	}
}

func TestDeadlinesAreEnforced(t *testing.T) {
	var now atomic.Int64
	r := &fake.Runtime{Clock: func() plane.Instant { return plane.Instant(now.Load()) }}
	u := runtime.Unit{Backend: "one", Port: port(t), Policy: plane.Fast, Epoch: 1, Deadline: 10}
	p := start(t, r, u)
	if r.Extend(plane.Fast, 1, 20) != 1 || r.Extend(plane.Fast, 1, 15) != 0 || r.Extend(plane.Fast, 2, 30) != 0 || r.Deadline("one") != 20 {
		t.Errorf("deadline %d", r.Deadline("one"))
	}
	r.Shorten("one", 18)
	if r.Extend(plane.Fast, 1, 40) != 0 || r.Deadline("one") != 18 {
		t.Errorf("deadline %d after it was made final", r.Deadline("one"))
	}
	now.Store(18)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if exit, err := p.Wait(ctx); err != nil || exit.Signal != "SIGKILL" {
		t.Errorf("exit %+v, %v", exit, err)
	}
	if _, err := r.Start(t.Context(), runtime.Unit{Backend: "two", Deadline: 18}); !errors.Is(err, runtime.ErrDead) {
		t.Errorf("start past its deadline: %v", err)
	}
}

func TestOutputIsKeptAndFollowed(t *testing.T) {
	r := &fake.Runtime{}
	start(t, r, runtime.Unit{Backend: "one", Port: port(t)})
	r.Write("one", "a\nb\nc")
	read := func(tail int, follow bool) string {
		out, err := r.Output(t.Context(), "one", tail, follow)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = out.Close() }()
		b, _ := io.ReadAll(out)
		return string(b)
	}
	if got := read(2, false); got != "b\nc" {
		t.Errorf("tail %q", got)
	}
	done := make(chan string)
	go func() { done <- read(0, true) }()
	r.Write("one", "d\n")
	r.Kill("one", plane.Exit{})
	if got := <-done; got != "a\nb\ncd\n" {
		t.Errorf("followed %q", got)
	}
}
