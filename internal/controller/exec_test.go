package controller

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
	"plane/internal/wire"
)

// shell answers commands as a drone does: what it was sent, and what it is told to say.
type shell struct {
	mu    sync.Mutex
	asks  []wire.ExecAsk
	parts []wire.ExecPart
}

func (s *shell) take(_ *drone, m wire.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m := m.(type) {
	case wire.ExecAsk:
		s.asks = append(s.asks, m)
	case wire.ExecPart:
		s.parts = append(s.parts, m)
	default:
		return false
	}
	return true
}

// sum is what the parts of a command say together.
func (s *shell) sum(id int64) (sum wire.ExecPart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		if p.ID != id {
			continue
		}
		sum.Data = append(sum.Data, p.Data...)
		sum.Taken += p.Taken
		sum.EOF, sum.Kill = sum.EOF || p.EOF, sum.Kill || p.Kill
		if p.Rows > 0 {
			sum.Rows, sum.Cols = p.Rows, p.Cols
		}
	}
	return sum
}

func (s *shell) asked() []wire.ExecAsk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]wire.ExecAsk(nil), s.asks...)
}

// inShell is a plant with one ready backend, whose commands sh answers.
func inShell(t *testing.T) (*plant, *drone, *shell, plane.BackendID) {
	p, sh := newPlant(t, plantOptions{}), &shell{}
	d := p.drone("dr-1", answers(sh.take))
	b := p.connectTo(keyed("doc")).BackendID
	p.until(b, plane.Ready)
	return p, d, sh, b
}

// run begins a command and waits until the drone has heard of it.
func (sh *shell) run(t *testing.T, p *plant, a Actor, b plane.BackendID, r ExecRequest) *Execution {
	t.Helper()
	before := len(sh.asked())
	x, err := p.Exec(t.Context(), a, b, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	eventually(t, "the drone is asked", func() bool { return len(sh.asked()) > before })
	return x
}

func (p *plant) lastEvent(kind string) EventView {
	p.t.Helper()
	all := p.events(kind)
	if len(all) == 0 {
		p.t.Fatalf("the log has no %s", kind)
	}
	return all[len(all)-1]
}

func TestACommandHasInputOutputSizeAndExitCode(t *testing.T) {
	p, d, sh, b := inShell(t)
	actor := Actor{Kind: "api-key", Name: "ak-1", Grants: []string{"exec:/*"}, RequestID: "r-1"}
	x := sh.run(t, p, actor, b, ExecRequest{Argv: []string{"sh", "-c", "wc -c"}, TTY: true, Rows: 24, Cols: 80})
	ask := sh.asked()[0]
	if ask.Backend != b || !ask.TTY || ask.Rows != 24 || ask.Cols != 80 || strings.Join(ask.Argv, " ") != "sh -c wc -c" || ask.Actor != "api-key ak-1" {
		t.Errorf("the drone is asked %+v", ask)
	}
	for _, err := range []error{x.Resize(30, 100), x.Write(t.Context(), []byte("one ")), x.Write(t.Context(), []byte("two")), x.EndInput()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all of it arrives", func() bool {
		sum := sh.sum(ask.ID)
		return string(sum.Data) == "one two" && sum.EOF && sum.Rows == 30 && sum.Cols == 100
	})
	code := 7
	for _, m := range []wire.ExecPart{{Data: []byte("out")}, {Data: []byte("err"), Stderr: true}, {Exit: &code}} {
		m.ID = ask.ID
		_ = d.conn.Send(m)
	}
	var out, errs bytes.Buffer
	for {
		part, err := x.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if part.Exit != nil {
			if *part.Exit != 7 {
				t.Errorf("it ended with %d", *part.Exit)
			}
			break
		}
		if part.Stderr {
			errs.Write(part.Data)
		} else {
			out.Write(part.Data)
		}
	}
	if out.String() != "out" || errs.String() != "err" {
		t.Errorf("it said %q and %q", out.String(), errs.String())
	}
	if err := x.Write(t.Context(), []byte("more")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("input after the end gives %v", err)
	}
	x.Close()
	began, ended := p.lastEvent("exec"), p.lastEvent("exec-ended")
	if began.Actor != "api-key ak-1" || began.BackendID != b || began.RequestID != "r-1" || began.Key == nil || began.Key.Name != "doc" ||
		!strings.Contains(began.Text, `sh -c "wc -c"`) {
		t.Errorf("the log has %+v", began)
	}
	if ended.BackendID != b || !strings.Contains(ended.Text, "with exit code 7") || !strings.Contains(ended.Text, `sh -c "wc -c"`) {
		t.Errorf("the log has %+v", ended)
	}
	if sh.sum(ask.ID).Kill {
		t.Error("a command that has ended is killed")
	}
}

func TestACommandWaitsForWhoIsSlow(t *testing.T) {
	p, d, sh, b := inShell(t)
	x := sh.run(t, p, operatorActor, b, ExecRequest{Argv: []string{"cat"}})
	id := sh.asked()[0].ID

	// Input goes as far as the window, and on when the drone has taken some.
	written := make(chan error, 1)
	input := bytes.Repeat([]byte("x"), wire.ExecWindow+1000)
	go func() { written <- x.Write(t.Context(), input) }()
	eventually(t, "a window of input arrives", func() bool { return len(sh.sum(id).Data) == wire.ExecWindow })
	select {
	case err := <-written:
		t.Fatalf("more than a window was written: %v", err)
	default:
	}
	_ = d.conn.Send(wire.ExecPart{ID: id, Taken: 1000})
	eventually(t, "the rest arrives", func() bool { return len(sh.sum(id).Data) == len(input) })
	if err := <-written; err != nil {
		t.Fatal(err)
	}

	// Output is acknowledged only once it was passed on.
	piece := bytes.Repeat([]byte("y"), wire.ExecWindow/4)
	for range 4 {
		_ = d.conn.Send(wire.ExecPart{ID: id, Data: piece})
	}
	if _, err := x.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := len(d.answered())
	d.renew()
	eventually(t, "a renewal is answered meanwhile", func() bool { return len(d.answered()) > before })
	if sum := sh.sum(id); sum.Taken != 0 {
		t.Errorf("%d bytes are acknowledged that nobody has passed on", sum.Taken)
	}
	for range 3 {
		if _, err := x.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three are acknowledged", func() bool { return sh.sum(id).Taken == int64(3*len(piece)) })

	// A drone that sends more than it may is stopped, before it fills the memory.
	for range 10 {
		_ = d.conn.Send(wire.ExecPart{ID: id, Data: piece})
	}
	eventually(t, "it is killed", func() bool { return sh.sum(id).Kill })
	for {
		if _, err := x.Next(t.Context()); err != nil {
			break
		}
	}
}

func TestACommandEndsWhenEitherSideGoes(t *testing.T) {
	p, d, sh, b := inShell(t)
	ctx, cancel := context.WithCancel(t.Context())
	gone, err := p.Exec(ctx, operatorActor, b, ExecRequest{Argv: []string{"sleep", "9"}})
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	cancel()
	eventually(t, "it is killed when its context ends", func() bool { return sh.sum(1).Kill })

	closed := sh.run(t, p, operatorActor, b, ExecRequest{Argv: []string{"sleep", "8"}})
	closed.Close()
	eventually(t, "it is killed when it is closed", func() bool { return sh.sum(2).Kill })
	if e := p.lastEvent("exec-ended"); !strings.Contains(e.Text, "whoever asked for it left") {
		t.Errorf("the log has %+v", e)
	}

	refused := sh.run(t, p, operatorActor, b, ExecRequest{Argv: []string{"nothing"}})
	_ = d.conn.Send(wire.ExecPart{ID: 3, Error: "there is no such program"})
	if part, err := refused.Next(t.Context()); err != nil || part.Error != "There is no such program." {
		t.Errorf("what the drone refuses comes as %+v, %v", part, err)
	}

	left := sh.run(t, p, operatorActor, b, ExecRequest{Argv: []string{"sleep", "7"}})
	waited := make(chan error, 1)
	go func() { _, err := left.Next(t.Context()); waited <- err }()
	d.end()
	select {
	case err := <-waited:
		if err == nil || !strings.Contains(err.Error(), "disconnected") {
			t.Errorf("when the drone goes, its reader gets %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a reader waits for a drone that has gone")
	}
	_, err = p.Exec(t.Context(), operatorActor, b, ExecRequest{Argv: []string{"ls"}})
	if !plane.IsKind(err, plane.Unavailable) {
		t.Errorf("without its drone a command gives %v", err)
	}
}

func TestWhoMayRunWhatWhere(t *testing.T) {
	p, _, sh, b := inShell(t)
	for name, c := range map[string]struct {
		actor Actor
		id    plane.BackendID
		argv  []string
		kind  plane.Kind
	}{
		"without the verb":         {Actor{Kind: "api-key", Grants: []string{"connect", "read", "terminate"}}, b, []string{"ls"}, plane.Forbidden},
		"elsewhere":                {Actor{Kind: "api-key", Grants: []string{"exec:team/*"}}, b, []string{"ls"}, plane.Forbidden},
		"in no backend":            {operatorActor, "b0", []string{"ls"}, plane.NotFound},
		"nothing":                  {operatorActor, b, nil, plane.BadRequest},
		"nothing, spelled":         {operatorActor, b, []string{""}, plane.BadRequest},
		"what no command line has": {operatorActor, b, []string{"ls", "a\x00b"}, plane.BadRequest},
		"far too much":             {operatorActor, b, []string{"ls", strings.Repeat("x", 70_000)}, plane.BadRequest},
	} {
		if _, err := p.Exec(t.Context(), c.actor, c.id, ExecRequest{Argv: c.argv}); !plane.IsKind(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.Terminate(t.Context(), operatorActor, b, plane.Soft); err != nil {
		t.Fatal(err)
	}
	p.until(b, plane.Terminated)
	_, err := p.Exec(t.Context(), operatorActor, b, ExecRequest{Argv: []string{"ls"}})
	if err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("in one that has ended: %v", err)
	}
	if len(sh.asked()) > 0 {
		t.Errorf("the drone was asked: %+v", sh.asked())
	}
	if e := p.events("exec"); len(e) > 0 {
		t.Errorf("the log tells of %+v", e)
	}
}

func TestSoManyCommandsRunAtOnce(t *testing.T) {
	p, _, sh, b := inShell(t)
	for range execsMost - 1 {
		sh.run(t, p, operatorActor, b, ExecRequest{Argv: []string{"sleep", "9"}})
	}
	last := sh.run(t, p, operatorActor, b, ExecRequest{Argv: []string{"sleep", "9"}})
	_, err := p.Exec(t.Context(), operatorActor, b, ExecRequest{Argv: []string{"ls"}})
	if !plane.IsKind(err, plane.LimitExceeded) {
		t.Fatalf("one too many gives %v", err)
	}
	last.Close()
	sh.run(t, p, operatorActor, b, ExecRequest{Argv: []string{"ls"}})
}

// Whatever its app counts as use, and until the idle time has passed after its end.
func TestACommandIsUse(t *testing.T) {
	p, sh := newPlant(t, plantOptions{}), &shell{}
	d := p.drone("dr-1", answers(sh.take))
	p.proxy("px-1")
	p.apply("board", plane.Template{Command: []string{"./board"}, Idle: []plane.Use{plane.UseHolds}, MaxIdle: ptr(int32(1000))})
	b := p.connectTo(ofApp("board", "doc")).BackendID
	p.until(b, plane.Ready)
	since := func() time.Time {
		p.use.mu.Lock()
		defer p.use.mu.Unlock()
		return p.use.byID[b].since
	}
	p.soon(b)
	began := time.Now()
	x := sh.run(t, p, operatorActor, b, ExecRequest{Argv: []string{"sh"}})
	if since().Before(began) {
		t.Error("its begin is no use")
	}
	if now := p.awake("board", "doc"); now.IdleIn != nil || now.Backend.Commands != 1 || !strings.Contains(now.Awake, "held awake by 1 command of `plane exec`") {
		t.Errorf("while it runs: %+v", now)
	}
	began = time.Now()
	_ = d.conn.Send(wire.Telemetry{Backends: []wire.Usage{{Backend: b, Commands: 1}}})
	eventually(t, "what the drone tells of it is use", func() bool { return !since().Before(began) })
	_ = d.conn.Send(wire.Telemetry{Backends: []wire.Usage{{Backend: b}}})
	began = time.Now()
	x.Close()
	if since().Before(began) {
		t.Error("its end is no use")
	}
	eventually(t, "the countdown begins", func() bool { return p.awake("board", "doc").IdleIn != nil })
}
