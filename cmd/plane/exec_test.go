package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"plane/internal/api"
	"plane/internal/api/apitest"
)

// execSite is a site with a scripted drone and one backend, of key k.
func execSite(t *testing.T) *apitest.Drone {
	t.Helper()
	away(t)
	s := apitest.New(t, api.Options{Insecure: true})
	d := s.StartDrone(t, nil)
	t.Setenv("PLANE_CONTROLLER", s.URL)
	must(t, "connect", "k", "--id", "one", "--", "/bin/echo")
	return d
}

func TestExecIsItsCommand(t *testing.T) {
	execSite(t)
	if code, out, errOut := play(t, "exec", "k", "--", "say", "-l", "a b"); code != 0 || out != "-l a b\n" || errOut != "oops\n" {
		t.Errorf("exit %d, %q, %q", code, out, errOut)
	}
	if code, out, errOut := play(t, "exec", "--id", "one", "--", "exit", "42"); code != 42 || out+errOut != "" {
		t.Errorf("exit %d, %q, %q", code, out, errOut)
	}
	fails(t, 1, `There is no program "nothing" in it.`, "exec", "k", "--", "nothing")
	fails(t, 1, `There is no backend of key "nobody"`, "exec", "nobody", "--", "say")
	fails(t, 1, `Backend does not exist`, "exec", "--id", "nobody", "--", "say")
	fails(t, 2, `put "--" before the command: plane exec k -- ls`, "exec", "k", "ls")
	fails(t, 2, `behind "--"`, "exec", "k")
	fails(t, 2, "name a KEY", "exec", "--", "ls")
	fails(t, 2, "not both", "exec", "-t", "-T", "k", "--", "ls")
	must(t, "stop", "k")
	fails(t, 1, `Nothing runs for key "k"`, "exec", "k", "--", "say")
	fails(t, 1, "terminated", "exec", "--id", "one", "--", "say")
}

func TestExecPassesItsInputOn(t *testing.T) {
	execSite(t)
	in := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	root := newRoot()
	var out bytes.Buffer
	root.SetArgs([]string{"exec", "k", "--", "cat"})
	root.SetIn(strings.NewReader(in))
	root.SetOut(&out)
	if err := root.ExecuteContext(t.Context()); err != nil || out.String() != in {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
}

func TestExecOnATerminalGivesTheCommandOne(t *testing.T) {
	execSite(t)
	p := terminal(t)
	ended := p.run(t.Context(), "exec", "k", "--", "size")
	until(t, &p.shown, "8 x 100")
	if err := pty.Setsize(p.tty, &pty.Winsize{Rows: 30, Cols: 90}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGWINCH); err != nil { // the test isn't in the foreground there
		t.Fatal(err)
	}
	until(t, &p.shown, "30 x 90")
	if _, err := p.keys.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, ended); err != nil {
		t.Error(err)
	}
}

// TestCtrlCIsForTheCommand: with a terminal it is a key like others.
func TestCtrlCIsForTheCommand(t *testing.T) {
	d := execSite(t)
	p := terminal(t)
	ended := p.run(t.Context(), "exec", "k", "--", "cat")
	commands(t, d, 1)
	if _, err := p.keys.Write([]byte{'a', ctrlC, 'b'}); err != nil {
		t.Fatal(err)
	}
	until(t, &p.shown, "a\x03b")
	if _, err := p.keys.Write([]byte{ctrlD}); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, ended); err != nil {
		t.Error(err)
	}

	ctx, interrupt := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		var out printed
		code <- execute(ctx, []string{"exec", "-T", "k", "--", "hang"}, &out, &out)
	}()
	commands(t, d, 1)
	interrupt()
	if got := <-code; got != exitInterrupted {
		t.Errorf("exit %d", got)
	}
	commands(t, d, 0)
}

// commands waits until so many run.
func commands(t *testing.T, d *apitest.Drone, want int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); d.Commands() != want; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d commands run", d.Commands())
		}
	}
}

func TestAReaderThatLeavesEndsExec(t *testing.T) {
	execSite(t)
	root := newRoot()
	root.SetArgs([]string{"exec", "k", "--", "flood", "4194304"})
	root.SetIn(strings.NewReader(""))
	root.SetOut(leaving{})
	err := root.ExecuteContext(t.Context())
	var code exitCode
	if !errors.As(err, &code) || code != 141 {
		t.Error(err)
	}
}

type leaving struct{}

func (leaving) Write([]byte) (int, error) { return 0, syscall.EPIPE }
