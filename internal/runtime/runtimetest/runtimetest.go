// Package runtimetest is what every runtime must do, as one suite that each
// runs over itself.
package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/runtime"
)

// Bed is a runtime that is tested. Its backends outlive it.
type Bed struct {
	Runtime runtime.Runtime
	Clock   func() plane.Instant   // on which it compares deadlines
	Reopen  func() runtime.Runtime // another one over the same backends, as after a restart of the agent

	// What to run. The suite fills in the rest of the Unit, with a free port.
	Stays    plane.Executable // until it is asked to end
	Stubborn plane.Executable // ignores SIGTERM; zero = can't be had
	Ends     plane.Executable // at once, with code 3, after writing Says
	Lingers  plane.Executable // stubborn, after writing Says, and may run beside another; zero = can't be had
	Says     string           // "" = it writes nothing
}

// Run runs the suite. open is called once per test and cleans up by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Bed) {
	for name, test := range map[string]func(*testing.T, *bed){
		"start is idempotent on the backend id":    startTwice,
		"an end is told, remembered and forgotten": end,
		"soft stop ends and is repeatable":         soft,
		"hard stop makes absent":                   hard,
		"waiting can be given up":                  giveUp,
		"what runs is found by the next agent":     found,
		"a start past its deadline is refused":     late,
		"stopping what is gone is no failure":      gone,
		"output is kept, if the runtime keeps any": output,
		"usage is told, if the runtime measures":   usage,
		"usage grows, if the runtime measures":     usageGrows,
		"commands run in it, if any can":           commands,
		"a command ends with who asked for it":     commandLeft,
		"a command ends with its backend":          commandEnds,
		"many start and end at once":               many,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			test(t, &bed{Bed: open(t), t: t})
		})
	}
}

type bed struct {
	Bed
	t *testing.T
	n int
}

const patience = 20 * time.Second

func (b *bed) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	b.t.Cleanup(cancel)
	return ctx
}

func (b *bed) unit(x plane.Executable) runtime.Unit {
	b.n++
	name := fmt.Sprintf("rt%d", b.n)
	return runtime.Unit{
		Backend: plane.BackendID(name), Key: plane.Key{Name: name}, Generation: plane.NewGeneration(1, uint32(b.n)),
		Policy: plane.Balanced, Epoch: 1, Deadline: b.Clock().Add(time.Minute), Grace: time.Second,
		Executable: x, Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}, Port: freePort(b.t),
	}
}

func (b *bed) start(u runtime.Unit) runtime.Process {
	b.t.Helper()
	if _, err := b.Runtime.Prepare(b.ctx(), u, func(runtime.Progress) {}); err != nil {
		b.t.Fatal(err)
	}
	p, err := b.Runtime.Start(b.ctx(), u)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = p.Stop(context.Background(), plane.Hard)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, _ = p.Wait(ctx)
	})
	return p
}

func (b *bed) wait(p runtime.Process) plane.Exit {
	b.t.Helper()
	exit, err := p.Wait(b.ctx())
	if err != nil {
		b.t.Fatal(err)
	}
	return exit
}

func startTwice(t *testing.T, b *bed) {
	u := b.unit(b.Stays)
	p, q := b.start(u), b.start(u)
	if p.Pid() != q.Pid() || p.Address() != q.Address() || p.Address() == "" {
		t.Errorf("%d at %s, then %d at %s", p.Pid(), p.Address(), q.Pid(), q.Address())
	}
}

func end(t *testing.T, b *bed) {
	u := b.unit(b.Ends)
	p := b.start(u)
	for range 2 {
		if exit := b.wait(p); exit.Code == nil || *exit.Code != 3 {
			t.Fatalf("exit %+v", exit)
		}
	}
	if exit := b.wait(b.start(u)); exit.Code == nil || *exit.Code != 3 {
		t.Errorf("started again: %+v", exit)
	}
	for range 2 {
		if err := p.Forget(b.ctx()); err != nil {
			t.Errorf("forget: %v", err)
		}
	}
	if _, err := b.Runtime.Attach(b.ctx(), u.Backend); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("attach: %v", err)
	}
}

func soft(t *testing.T, b *bed) {
	p := b.start(b.unit(b.Stays))
	ctx := b.ctx()
	for range 2 {
		if err := p.Stop(ctx, plane.Soft); err != nil && !errors.Is(err, runtime.ErrGone) {
			t.Fatal(err)
		}
	}
	// The first process of a container has signals ignored until it says what to
	// do with them; on a busy machine it may not have come so far.
	for {
		wait, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := p.Wait(wait)
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		_ = p.Stop(ctx, plane.Soft)
	}
}

func hard(t *testing.T, b *bed) {
	x := b.Stubborn
	if len(x.Command) == 0 && x.Image == "" {
		x = b.Stays
	}
	p := b.start(b.unit(x))
	for range 2 {
		if err := p.Stop(b.ctx(), plane.Hard); err != nil && !errors.Is(err, runtime.ErrGone) {
			t.Fatal(err)
		}
	}
	b.wait(p)
}

func giveUp(t *testing.T, b *bed) {
	p := b.start(b.unit(b.Stays))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func found(t *testing.T, b *bed) {
	stays, ends := b.unit(b.Stays), b.unit(b.Ends)
	p := b.start(stays)
	b.wait(b.start(ends))
	next := b.Reopen()
	all, err := next.Found(b.ctx())
	if err != nil || len(all) != 2 {
		t.Fatalf("found %+v, %v", all, err)
	}
	for _, f := range all {
		if (f.Exit != nil) != (f.Backend == ends.Backend) {
			t.Errorf("%s: exit %+v", f.Backend, f.Exit)
		}
	}
	q, err := next.Attach(b.ctx(), stays.Backend)
	if err != nil {
		t.Fatal(err)
	}
	if q.Pid() != p.Pid() || q.Address() != p.Address() {
		t.Errorf("%d at %s, was %d at %s", q.Pid(), q.Address(), p.Pid(), p.Address())
	}
	if err := q.Stop(b.ctx(), plane.Hard); err != nil {
		t.Fatal(err)
	}
	b.wait(q)
}

func late(t *testing.T, b *bed) {
	u := b.unit(b.Stays)
	u.Deadline = b.Clock().Add(-time.Millisecond)
	if _, err := b.Runtime.Start(b.ctx(), u); !errors.Is(err, runtime.ErrDead) {
		t.Errorf("got %v", err)
	}
	if _, err := b.Runtime.Attach(b.ctx(), u.Backend); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("attach: %v", err)
	}
}

func gone(t *testing.T, b *bed) {
	p := b.start(b.unit(b.Ends))
	b.wait(p)
	for _, kind := range []plane.StopKind{plane.Soft, plane.Hard} {
		if err := p.Stop(b.ctx(), kind); err != nil && !errors.Is(err, runtime.ErrGone) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func output(t *testing.T, b *bed) {
	l, ok := b.Runtime.(runtime.Logger)
	if !ok {
		t.Skip("keeps none")
	}
	u := b.unit(b.Ends)
	b.wait(b.start(u))
	for _, follow := range []bool{false, true} {
		r, err := l.Output(b.ctx(), u.Backend, 0, follow)
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil || !strings.Contains(string(all), b.Says) {
			t.Errorf("follow=%v: %q, %v", follow, all, err)
		}
	}
	if _, err := l.Output(b.ctx(), "nobody", 0, false); !errors.Is(err, runtime.ErrGone) {
		t.Errorf("of nobody: %v", err)
	}
}

func usage(t *testing.T, b *bed) {
	p := b.start(b.unit(b.Stays))
	m, ok := p.(runtime.Meter)
	if !ok {
		t.Skip("doesn't measure")
	}
	if u, err := m.Usage(b.ctx()); err != nil || u.Memory < 0 || u.CPU < 0 {
		t.Errorf("%+v, %v", u, err)
	}
}

func many(t *testing.T, b *bed) {
	const n = 20
	done := make(chan error, n)
	for range n {
		u := b.unit(b.Ends)
		go func() {
			p, err := b.Runtime.Start(b.ctx(), u)
			if err == nil {
				_, err = p.Wait(b.ctx())
			}
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// usageGrows: with each process that is there.
func usageGrows(t *testing.T, b *bed) {
	u := b.unit(b.Stays)
	p := b.start(u)
	m, ok := p.(runtime.Meter)
	if !ok {
		t.Skip("doesn't measure")
	}
	before := b.usage(m, "is told", func(u runtime.Usage) bool { return u.Pids > 0 && u.Memory > 0 })
	if _, ok := p.(runtime.Execer); !ok || !b.lingers() {
		t.Skip("runs no further commands")
	}
	c := b.exec(p, u, b.Lingers.Command)
	b.says(c)
	after := b.usage(m, "grows", func(u runtime.Usage) bool { return u.Pids > before.Pids && u.CPU >= before.CPU })
	t.Logf("%+v, then %+v", before, after)
}

// usage polls until what is told is as it should be.
func (b *bed) usage(m runtime.Meter, what string, ok func(runtime.Usage) bool) runtime.Usage {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		u, err := m.Usage(b.ctx())
		if err == nil && ok(u) {
			return u
		}
		if time.Now().After(end) {
			b.t.Fatalf("usage never %s: %+v, %v", what, u, err)
		}
	}
}

func (b *bed) lingers() bool { return len(b.Lingers.Command) > 0 }

// command is one that was begun.
type command struct {
	exit  int
	err   error
	done  chan struct{}
	leave context.CancelFunc

	mu  sync.Mutex // guards out
	out strings.Builder
}

func (c *command) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(p)
}

func (c *command) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// says waits until it has begun.
func (b *bed) says(c *command) {
	b.t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(c.said(), b.Says); time.Sleep(2 * time.Millisecond) {
		select {
		case <-c.done:
			b.t.Fatalf("it has ended: %d, %v, %q", c.exit, c.err, c.said())
		default:
		}
		if time.Now().After(end) {
			b.t.Fatalf("it never says %q, but %q", b.Says, c.said())
		}
	}
}

// exec begins a command. Its input stays open.
func (b *bed) exec(p runtime.Process, u runtime.Unit, argv []string) *command {
	ctx, leave := context.WithCancel(b.ctx())
	in, keys := io.Pipe()
	c := &command{done: make(chan struct{}), leave: leave}
	b.t.Cleanup(func() {
		leave()
		_ = keys.Close()
		<-c.done
	})
	go func() {
		defer close(c.done)
		c.exit, c.err = p.(runtime.Execer).Exec(ctx, runtime.Command{Unit: u, Argv: argv, Stdin: in, Stdout: c, Stderr: c})
	}()
	return c
}

func (b *bed) ended(c *command) {
	b.t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		b.t.Fatal("the command goes on")
	}
}

func commands(t *testing.T, b *bed) {
	u := b.unit(b.Stays)
	p := b.start(u)
	if _, ok := p.(runtime.Execer); !ok {
		t.Skip("runs none")
	}
	for range 2 {
		c := b.exec(p, u, b.Ends.Command)
		if b.ended(c); c.err != nil || c.exit != 3 || !strings.Contains(c.said(), b.Says) {
			t.Errorf("exit %d, %v, %q", c.exit, c.err, c.said())
		}
	}
	brief, cancel := context.WithTimeout(b.ctx(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Wait(brief); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the backend ended with a command: %v", err)
	}
}

func commandLeft(t *testing.T, b *bed) {
	u := b.unit(b.Stays)
	p := b.start(u)
	m, measures := p.(runtime.Meter)
	if _, ok := p.(runtime.Execer); !ok || !measures || !b.lingers() {
		t.Skip("runs none, or nothing shows that it does")
	}
	c := b.exec(p, u, b.Lingers.Command)
	b.says(c)
	during := b.usage(m, "is told", func(u runtime.Usage) bool { return u.Pids > 1 })
	c.leave()
	if b.ended(c); !errors.Is(c.err, context.Canceled) {
		t.Errorf("%d, %v", c.exit, c.err)
	}
	b.usage(m, "falls", func(u runtime.Usage) bool { return u.Pids < during.Pids })
}

func commandEnds(t *testing.T, b *bed) {
	u := b.unit(b.Stays)
	p := b.start(u)
	if _, ok := p.(runtime.Execer); !ok || !b.lingers() {
		t.Skip("runs none")
	}
	c := b.exec(p, u, b.Lingers.Command)
	b.says(c)
	if err := p.Stop(b.ctx(), plane.Hard); err != nil {
		t.Fatal(err)
	}
	b.wait(p)
	if b.ended(c); c.err == nil && c.exit == 0 {
		t.Errorf("exit %d, %v", c.exit, c.err)
	}
	late := b.exec(p, u, b.Ends.Command)
	if b.ended(late); !errors.Is(late.err, runtime.ErrGone) {
		t.Errorf("in one that has ended: %d, %v", late.exit, late.err)
	}
}
