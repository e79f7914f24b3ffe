package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"plane"
	"plane/client"
)

// typed is a terminal with a person at it: what is printed can be waited for,
// and keys can be sent.
type typed struct {
	tty   *os.File
	shown printed
	keys  *os.File
}

func terminal(t *testing.T) *typed {
	t.Helper()
	person, tty, err := pty.Open()
	if err != nil {
		t.Skip("no pseudo terminal:", err)
	}
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 8, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	p := &typed{tty: tty, keys: person}
	go func() { // ends with the process: reads of such files can't be cancelled
		b := make([]byte, 4096)
		for {
			n, err := person.Read(b)
			_, _ = p.shown.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		_ = person.Close()
	})
	return p
}

func (p *typed) run(ctx context.Context, args ...string) <-chan error {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(p.tty)
	root.SetOut(p.tty)
	root.SetErr(p.tty)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	return ended
}

func waitFor(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
		return nil
	}
}

func TestTopRefreshesInPlaceUntilQ(t *testing.T) {
	site(t)
	must(t, "connect", "b", "--", "/bin/echo")
	p := terminal(t)
	ended := p.run(t.Context(), "top", "--interval", "100ms")
	until(t, &p.shown, "1 backend, 0 connections")
	must(t, "connect", "a", "--", "/bin/echo")
	until(t, &p.shown, "2 backends")
	if _, err := p.keys.WriteString("m"); err != nil {
		t.Fatal(err)
	}
	until(t, &p.shown, "by memory")
	if _, err := p.keys.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, ended); err != nil {
		t.Error(err)
	}
	until(t, &p.shown, "\x1b[?1049l")
	if out := p.shown.String(); !strings.Contains(out, "\x1b[H") || !strings.Contains(out, "KEY") {
		t.Errorf("%q", out)
	}
}

func TestTopEndsWithItsSignal(t *testing.T) {
	site(t)
	p := terminal(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := p.run(ctx, "top", "--interval", "100ms")
	until(t, &p.shown, "0 backends")
	if _, err := p.keys.Write([]byte{ctrlC}); err != nil { // in raw mode it is a key
		t.Fatal(err)
	}
	if err := waitFor(t, ended); err != nil {
		t.Error(err)
	}
	ended = p.run(ctx, "top", "--interval", "100ms")
	stop()
	if err := waitFor(t, ended); err == nil {
		t.Error("no error of a signal")
	}
}

func TestTopWithoutATerminalIsOneTable(t *testing.T) {
	site(t)
	must(t, "connect", "k", "--", "/bin/echo")
	like(t, must(t, "top"), `KEY  STATUS  AGE +CONNS  CPU %  MEMORY  HOLDS\nk    ready   [\d.]+s +0      -      -\n`)
	fails(t, 2, "use cpu, memory or key", "top", "--sort", "load")

	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	var out printed
	ended := make(chan int, 1)
	go func() { ended <- execute(ctx, []string{"top", "--json", "--interval", "100ms"}, &out, &out) }()
	for strings.Count(out.String(), "\n") < 2 {
		time.Sleep(2 * time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal(out.String())
		}
	}
	stop()
	if code := <-ended; code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
	first, _, _ := strings.Cut(out.String(), "\n")
	var line struct {
		Time     int64
		Backends []map[string]any
	}
	if err := json.Unmarshal([]byte(first), &line); err != nil || line.Time == 0 || len(line.Backends) != 1 || line.Backends[0]["cpu_percent"] == nil {
		t.Errorf("%s: %v", first, err)
	}
}

func TestLoadIsWhatWasUsedBetweenTwoMeasurements(t *testing.T) {
	now := time.Now()
	b := client.Backend{BackendID: "a", Status: plane.Ready, Since: now.Add(-10 * time.Second).UnixMilli(), CPUMS: 1000, MemoryBytes: 1}
	var l loads
	step := func(after time.Duration, cpu int64) float64 {
		now = now.Add(after)
		b.CPUMS = cpu
		return l.observe(now, []client.Backend{b})[0].CPUPercent
	}
	for i, s := range []struct {
		after time.Duration
		cpu   int64
		want  float64
	}{
		{0, 1000, 10},                       // since it is ready
		{2 * time.Second, 1000, 10},         // not measured anew
		{2 * time.Second, 3000, 50},         // 2 s in 4 s
		{2 * time.Second, 3000, 50},         // not measured anew
		{stale + time.Second, 3000, 0},      // it rests
		{2 * time.Second, 3000, 0},          //
		{20 * time.Second, 3000 + 10000, 0}, // busy for a part; see below
	} {
		got := step(s.after, s.cpu)
		if i == 6 {
			if got < 20 || got > 60 {
				t.Errorf("step %d: %.1f", i, got)
			}
			continue
		}
		if got < s.want-1 || got > s.want+1 {
			t.Errorf("step %d: %.1f, want %.0f", i, got, s.want)
		}
	}
	l.observe(now, nil)
	if len(l.last) != 0 {
		t.Error("ended backends are remembered")
	}
}

func TestFramesFitTheTerminal(t *testing.T) {
	body := "KEY\n" + strings.Repeat(strings.Repeat("é", 50)+"\x1b[2J\n", 20)
	got := frame("head", body, 20, 6)
	lines := strings.Split(got, "\r\n")
	if len(lines) != 6 || !strings.Contains(lines[5], "and 18 more") || strings.Contains(got, "\x1b[2J") {
		t.Errorf("%q", got)
	}
	if plain := strings.TrimSuffix(lines[3], "\x1b[K"); len([]rune(plain)) != 20 {
		t.Errorf("%q", plain)
	}
}

func TestConfirmationIsAskedOnATerminalAlone(t *testing.T) {
	for answer, yes := range map[string]bool{"y": true, "YES": true, "": false, "n": false, "yess": false} {
		p := terminal(t)
		cmd := &cobra.Command{}
		cmd.SetContext(t.Context())
		cmd.SetIn(p.tty)
		cmd.SetErr(p.tty)
		ended := make(chan error, 1)
		go func() { ended <- confirm(cmd, "Sure?") }()
		until(t, &p.shown, "Sure? [y/N] ")
		if _, err := fmt.Fprintln(p.keys, answer); err != nil {
			t.Fatal(err)
		}
		if err := waitFor(t, ended); (err == nil) != yes {
			t.Errorf("%q: %v", answer, err)
		}
	}
	cmd := &cobra.Command{}
	cmd.SetContext(t.Context())
	cmd.SetIn(bytes.NewBufferString("y\n"))
	if err := confirm(cmd, "Sure?"); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Error(err)
	}
}
