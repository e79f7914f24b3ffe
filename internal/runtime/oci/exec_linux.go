package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"plane/internal/drone/means"
	"plane/internal/runtime"
	"plane/internal/runtime/line"
)

var _ runtime.Execer = (*process)(nil)

// Exec runs another command in the container: as the backend's user, with its
// environment, limits and cgroups. See runtime.Execer.
func (p *process) Exec(ctx context.Context, c runtime.Command) (int, error) {
	h, _, err := p.r.machine(ctx)
	if err != nil {
		return -1, err
	}
	m, id := p.Look()
	if id.Pid == 0 || !m.Alive(id) {
		return -1, runtime.ErrGone
	}
	dir, err := os.MkdirTemp(p.bundle().dir, "exec-*")
	if err != nil {
		return -1, fmt.Errorf("exec: %w", err)
	}
	defer os.RemoveAll(dir)
	guest := m.NewGuest(id)
	guest.Wanders = h.runc
	file := filepath.Join(dir, "process.json")
	if err := p.writeProcess(file, c, guest.MarkEnv()); err != nil {
		return -1, err
	}
	argv := []string{h.launcher}
	if !h.runc {
		argv = append(argv, "--cgroup-manager=disabled")
	}
	argv = append(argv, "--root", stateDir(p.r.opts.Home), "exec", "--process", file)
	g := &line.Guest{Backend: &p.Backend, Guest: guest, Command: c}
	if c.TTY && !h.runc {
		// crun hands the terminal out; runc passes on what one of its own says.
		// The directory's own path may be longer than a socket's can be.
		at, err := os.Open(dir)
		if err != nil {
			return -1, fmt.Errorf("exec: %w", err)
		}
		defer at.Close()
		name := fmt.Sprintf("/proc/%d/fd/%d/console", os.Getpid(), at.Fd())
		console, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			return -1, fmt.Errorf("exec: %w", err)
		}
		defer console.Close()
		argv = append(argv, "--console-socket", console.Addr().String())
		g.Terminal = func(ended <-chan struct{}) *os.File { return handed(console, ended) }
	}
	argv = append(argv, p.bundle().container())
	// The same as the backend's: its limits are there.
	if script := means.PlaceOf(id.Pid).Beyond(means.PlaceOf(os.Getpid())).Join(); script != "" {
		argv = append([]string{"/bin/sh", "-c", script + `exec "$@"`, "sh"}, argv...)
	}
	g.Cmd = exec.Command(argv[0], argv[1:]...)
	g.Cmd.Env, g.Cmd.Dir = []string{"PATH=" + defaultPath, sealed, guest.MarkEnv()}, "/"
	g.Start = func() error { return p.startAside(h, g.Cmd) }
	return g.Run(ctx)
}

// startAside forks it on a thread that sees no cgroup2 where crun mustn't, and
// the root where runc believes it to be.
func (p *process) startAside(h *host, cmd *exec.Cmd) error {
	if cmd.Stdin == nil {
		input, err := means.NoInput()
		if err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		defer input.Close()
		cmd.Stdin = input
	}
	err := means.Aside(func() error {
		if err := enterCopy(h); err != nil {
			return err
		}
		if h.runc {
			if err := (&stage{}).furnish(p.bundle()); err != nil {
				return err
			}
		}
		return cmd.Start()
	})
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	return nil
}

// writeProcess writes what crun or runc are to run: the backend's own process
// with another command.
func (p *process) writeProcess(file string, c runtime.Command, mark string) error {
	spec, err := p.bundle().spec()
	if err != nil {
		return runtime.ErrGone
	}
	what := *spec.Process
	what.Args, what.Terminal = c.Argv, c.TTY
	what.Env = withMark(what.Env, mark)
	if c.TTY && value(what.Env, "TERM") == "" {
		what.Env = append(what.Env, "TERM=xterm")
	}
	if c.Rows > 0 {
		what.ConsoleSize = &specs.Box{Height: uint(c.Rows), Width: uint(c.Cols)}
	}
	b, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	return writeFile(file, b)
}

// withMark is an environment with another marker.
func withMark(env []string, mark string) []string {
	name, _, _ := strings.Cut(mark, "=")
	out := make([]string, 0, len(env)+1)
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return append(out, mark)
}

// handed takes the terminal from the socket; nil if the command ends without
// having made one.
func handed(console *net.UnixListener, ended <-chan struct{}) *os.File {
	came := make(chan struct{})
	defer close(came)
	go func() { // until one or the other
		select {
		case <-ended:
			_ = console.SetDeadline(time.Now().Add(100 * time.Millisecond)) // it may have come just now
		case <-came:
		}
	}()
	c, err := console.AcceptUnix()
	if err != nil {
		return nil
	}
	defer c.Close()
	name, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(name, rights)
	if err != nil {
		return nil
	}
	all, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(all) == 0 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&all[0])
	if err != nil || len(fds) == 0 {
		return nil
	}
	_ = unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "terminal")
}
