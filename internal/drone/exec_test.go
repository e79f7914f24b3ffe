package drone

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/runtime"
	"plane/internal/wire"
)

// execution begins a command in a ready backend.
func (c *controller) exec(id int64, in plane.BackendID) {
	c.send(wire.ExecAsk{ID: id, Backend: in, Argv: []string{"sh"}, Actor: "somebody"})
}

// ended waits for the last part of a command.
func (c *controller) ended(t *testing.T, id int64) (out, stderr string, last wire.ExecPart) {
	t.Helper()
	eventually(t, "the command has ended", func() (ok bool) {
		c.locked(func() {
			parts := c.execs[id]
			ok = len(parts) > 0 && (parts[len(parts)-1].Exit != nil || parts[len(parts)-1].Error != "")
		})
		return ok
	})
	c.locked(func() {
		for _, p := range c.execs[id] {
			if p.Stderr {
				stderr += string(p.Data)
			} else {
				out += string(p.Data)
			}
			last = p
		}
	})
	return out, stderr, last
}

func readyBox(t *testing.T, run func(context.Context, runtime.Command) (int, error)) (*controller, *testDrone) {
	t.Helper()
	c, d, all := withBoxes(t, plane.RuntimeOCI)
	all[plane.RuntimeOCI].onExec = run
	c.spawn("one", "k", executable(plane.Executable{Image: "app"}))
	c.await("one", plane.Ready)
	return c, d
}

func TestACommandHasItsInputOutputAndExitCode(t *testing.T) {
	sizes := make(chan runtime.Size, 8)
	c, _ := readyBox(t, func(_ context.Context, x runtime.Command) (int, error) {
		sizes <- <-x.Resize
		_, _ = io.WriteString(x.Stderr, "warming up\n")
		_, err := io.Copy(x.Stdout, x.Stdin)
		return 7, err
	})
	c.exec(1, "one")
	c.send(wire.ExecPart{ID: 1, Rows: 40, Cols: 100})
	if got := <-sizes; got != (runtime.Size{Rows: 40, Cols: 100}) {
		t.Errorf("the terminal has %+v", got)
	}
	c.send(wire.ExecPart{ID: 1, Data: []byte("hel")})
	c.send(wire.ExecPart{ID: 1, Data: []byte("lo")})
	c.send(wire.ExecPart{ID: 1, EOF: true})
	out, stderr, last := c.ended(t, 1)
	if out != "hello" || stderr != "warming up\n" || last.Exit == nil || *last.Exit != 7 {
		t.Errorf("%q, %q, %+v", out, stderr, last)
	}
}

// More than the window: nothing is sent that the asker hasn't room for, and
// nothing is lost.
func TestACommandWaitsForWhoReadsIt(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), wire.ExecWindow/8) // two windows
	c, _ := readyBox(t, func(_ context.Context, x runtime.Command) (int, error) {
		_, err := x.Stdout.Write(text)
		return 0, err
	})
	c.exec(1, "one")
	sum := func() (n int) {
		c.locked(func() {
			for _, p := range c.execs[1] {
				n += len(p.Data)
			}
		})
		return n
	}
	eventually(t, "a window full comes", func() bool { return sum() == wire.ExecWindow })
	// State goes on beside it.
	c.spawn("two", "k2", executable(plane.Executable{Image: "app"}))
	c.await("two", plane.Ready)
	if n := sum(); n != wire.ExecWindow {
		t.Errorf("%d bytes came; nobody has taken any", n)
	}
	c.send(wire.ExecPart{ID: 1, Taken: 1000})
	eventually(t, "as much more as was taken comes", func() bool { return sum() == wire.ExecWindow+1000 })
	c.send(wire.ExecPart{ID: 1, Taken: wire.ExecWindow})
	out, _, _ := c.ended(t, 1)
	if out != string(text) {
		t.Errorf("%d bytes came, of %d", len(out), len(text))
	}
}

func TestACommandEndsWithWhoAskedForIt(t *testing.T) {
	for name, leave := range map[string]func(*controller){
		"the asker leaves":        func(c *controller) { c.send(wire.ExecPart{ID: 1, Kill: true}) },
		"the connection is lost":  func(c *controller) { c.drop() },
		"more input than allowed": func(c *controller) { c.send(wire.ExecPart{ID: 1, Data: make([]byte, wire.ExecWindow+1)}) },
	} {
		t.Run(name, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan error, 1)
			c, _ := readyBox(t, func(ctx context.Context, _ runtime.Command) (int, error) {
				close(began)
				<-ctx.Done()
				ended <- ctx.Err()
				return -1, ctx.Err()
			})
			c.exec(1, "one")
			<-began
			leave(c)
			select {
			case <-ended:
			case <-time.After(30 * time.Second):
				t.Error("it goes on")
			}
		})
	}
}

func TestWhyACommandCantRunIsSaid(t *testing.T) {
	c, _ := readyBox(t, func(context.Context, runtime.Command) (int, error) {
		return 0, errors.New(`there is no program "sh" in the image`)
	})
	c.exec(1, "nobody")
	if _, _, last := c.ended(t, 1); !strings.Contains(last.Error, "does not run here") || last.Exit != nil {
		t.Errorf("an unknown backend: %+v", last)
	}
	c.exec(2, "one")
	if _, _, last := c.ended(t, 2); !strings.Contains(last.Error, `no program "sh"`) || last.Exit != nil {
		t.Errorf("an unknown program: %+v", last)
	}
}

// Whatever counts as use: somebody is connected.
func TestACommandKeepsItsBackendAwake(t *testing.T) {
	end := make(chan struct{})
	units := make(chan runtime.Unit, 1)
	c, d := readyBox(t, func(ctx context.Context, x runtime.Command) (int, error) {
		units <- x.Unit
		select {
		case <-end:
		case <-ctx.Done():
		}
		return 0, nil
	})
	c.exec(1, "one")
	if u := <-units; u.Backend != "one" || u.Port == 0 || !slices.Contains(u.Env, "SESSION_BACKEND_ID=one") {
		t.Errorf("the command is told of %+v", u)
	}
	if a := c.askIdle(t, 1, "one"); a.Yes || !strings.Contains(a.Why, "a command runs in it") {
		t.Errorf("asked whether it may stop, the drone says %+v", a)
	}
	if u, known := d.agent.crew.Load().roster.get("one").usage(t.Context()); !known || u.Commands != 1 {
		t.Errorf("it tells of %d commands", u.Commands)
	}
	close(end)
	c.ended(t, 1)
	eventually(t, "it may stop", func() bool { return d.agent.crew.Load().roster.get("one").guests.count() == 0 })
	if a := c.askIdle(t, 2, "one"); !a.Yes {
		t.Errorf("once it has ended, the drone says %+v", a)
	}
	c.exec(2, "one")
	if _, _, last := c.ended(t, 2); !strings.Contains(last.Error, "does not run") {
		t.Errorf("in a backend that stops: %+v", last)
	}
}
