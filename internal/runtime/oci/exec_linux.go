package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"plane/internal/runtime"
)

var _ runtime.Execer = (*process)(nil)

// Exec runs another command in the container: as the backend's user, with its
// environment, limits and cgroups. See runtime.Execer.
func (p *process) Exec(ctx context.Context, c runtime.Command) (int, error) {
	h, _, err := p.r.machine(ctx)
	if err != nil {
		return -1, err
	}
	if m, id := p.Look(); id.Pid == 0 || !m.Alive(id) {
		return -1, runtime.ErrGone
	}
	dir, err := os.MkdirTemp(p.bundle().dir, "exec-*")
	if err != nil {
		return -1, fmt.Errorf("exec: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "process.json")
	if err := p.writeProcess(file, c); err != nil {
		return -1, err
	}
	e := &execution{c: c, pidFile: filepath.Join(dir, pidFile)}
	argv := []string{h.launcher}
	if !h.runc {
		argv = append(argv, "--cgroup-manager=disabled")
	}
	argv = append(argv, "--root", stateDir(p.r.opts.Home), "exec", "--process", file, "--pid-file", e.pidFile)
	if c.TTY && !h.runc {
		// crun hands the terminal out; runc passes on what one of its own says.
		// The directory's own path may be longer than a socket's can be.
		at, err := os.Open(dir)
		if err != nil {
			return -1, fmt.Errorf("exec: %w", err)
		}
		defer at.Close()
		console := fmt.Sprintf("/proc/%d/fd/%d/console", os.Getpid(), at.Fd())
		if e.console, err = net.ListenUnix("unix", &net.UnixAddr{Name: console, Net: "unix"}); err != nil {
			return -1, fmt.Errorf("exec: %w", err)
		}
		defer e.console.Close()
		argv = append(argv, "--console-socket", e.console.Addr().String())
	}
	argv = append(argv, p.bundle().container())
	groups := groupsOf(p.Running.Pid)
	if len(groups.v1) > 0 { // the same as the backend's: its limits are there
		argv = append([]string{"/bin/sh", "-c", groups.script() + `exec "$@"`, "sh"}, argv...)
	}
	e.cmd = exec.Command(argv[0], argv[1:]...)
	e.cmd.Env, e.cmd.Dir = []string{"PATH=" + defaultPath}, "/"
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if groups.v2 != "" {
		f, err := os.OpenFile(groups.v2, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return -1, runtime.ErrGone
		}
		defer f.Close()
		e.cmd.SysProcAttr.UseCgroupFD, e.cmd.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
	e.enter = func() error {
		if err := enterCopy(h.hide); err != nil || !h.runc {
			return err
		}
		return (&stage{}).furnish(p.bundle()) // where it believes the root to be
	}
	return e.run(ctx)
}

// writeProcess writes what crun or runc are to run: the backend's own process
// with another command.
func (p *process) writeProcess(file string, c runtime.Command) error {
	spec, err := p.bundle().spec()
	if err != nil {
		return runtime.ErrGone
	}
	what := *spec.Process
	what.Args, what.Terminal = c.Argv, c.TTY
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

// execution is one use of Exec.
type execution struct {
	c       runtime.Command
	cmd     *exec.Cmd
	pidFile string
	enter   func() error      // the namespace in which it is started
	console *net.UnixListener // where crun brings the terminal; nil = it has ours
	trouble bytes.Buffer      // what crun itself says then
}

func (e *execution) run(ctx context.Context) (int, error) {
	if e.c.TTY {
		return e.terminal(ctx)
	}
	e.cmd.Stdout, e.cmd.Stderr = e.c.Stdout, e.c.Stderr
	e.cmd.WaitDelay = 5 * time.Second // for what it left running with its output
	var in io.WriteCloser
	if e.c.Stdin != nil {
		var err error
		if in, err = e.cmd.StdinPipe(); err != nil {
			return -1, fmt.Errorf("exec: %w", err)
		}
	}
	if err := e.start(); err != nil {
		return -1, err
	}
	defer e.killAt(ctx)()
	if in != nil {
		go func() { // until its reader ends, or the command has: nothing else can end a Read
			_, _ = io.Copy(in, e.c.Stdin)
			_ = in.Close()
		}()
	}
	return e.end(ctx, e.cmd.Wait())
}

// terminal runs it in one.
func (e *execution) terminal(ctx context.Context) (int, error) {
	own, err := e.begin()
	if err != nil {
		return -1, err
	}
	defer e.killAt(ctx)()
	ended := make(chan error, 1)
	go func() { ended <- e.cmd.Wait() }() // received below
	if own == nil {
		handed := make(chan *os.File, 1)
		go func() { handed <- e.handed() }() // until it comes, or the socket is closed
		select {
		case err := <-ended: // it made none, and says why
			_, _ = e.c.Stdout.Write(e.trouble.Bytes())
			return e.end(ctx, err)
		case own = <-handed:
		}
		if own == nil {
			return e.end(ctx, <-ended)
		}
		resize(own, e.c.Rows, e.c.Cols)
	}
	defer own.Close()
	return e.end(ctx, e.converse(own, ended))
}

// begin starts it, in a terminal of ours unless it makes one.
func (e *execution) begin() (*os.File, error) {
	if e.console != nil {
		e.cmd.Stdout, e.cmd.Stderr = &e.trouble, &e.trouble
		return nil, e.start()
	}
	outer, inner, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("exec: no terminal can be had: %w", err)
	}
	defer inner.Close()
	resize(outer, e.c.Rows, e.c.Cols)
	e.cmd.Stdin, e.cmd.Stdout, e.cmd.Stderr = inner, inner, inner
	e.cmd.SysProcAttr.Setctty = true
	if err := e.start(); err != nil {
		_ = outer.Close()
		return nil, err
	}
	return outer, nil
}

func resize(terminal *os.File, rows, cols uint16) {
	if rows > 0 && cols > 0 {
		_ = pty.Setsize(terminal, &pty.Winsize{Rows: rows, Cols: cols})
	}
}

// handed takes the terminal from the socket; nil if none comes.
func (e *execution) handed() *os.File {
	c, err := e.console.AcceptUnix()
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

// converse passes on keys, screen and sizes until the command has ended.
func (e *execution) converse(terminal *os.File, ended chan error) error {
	shown := make(chan struct{})
	go func() { // waited for below
		defer close(shown)
		_, _ = io.Copy(e.c.Stdout, terminal) // until the last of them has closed the other side
	}()
	if e.c.Stdin != nil {
		go func() { _, _ = io.Copy(terminal, e.c.Stdin) }() // until its reader ends, or the terminal is closed
	}
	sizes := e.c.Resize
	for {
		select {
		case s, ok := <-sizes:
			if !ok {
				sizes = nil
			}
			resize(terminal, s.Rows, s.Cols)
			continue
		case err := <-ended:
			select {
			case <-shown:
			case <-time.After(time.Second): // something that it left has the terminal
				_ = terminal.Close()
				<-shown
			}
			return err
		}
	}
}

// start forks it on a thread that sees no cgroup2 where crun mustn't.
func (e *execution) start() error {
	err := aside(func() error {
		if err := e.enter(); err != nil {
			return err
		}
		return e.cmd.Start()
	})
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	return nil
}

// killAt kills the command when ctx ends before done is called.
func (e *execution) killAt(ctx context.Context) (done func() bool) {
	return context.AfterFunc(ctx, func() {
		if b, err := os.ReadFile(e.pidFile); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		_ = e.cmd.Process.Kill()
	})
}

func (e *execution) end(ctx context.Context, err error) (int, error) {
	if ctx.Err() != nil {
		return -1, ctx.Err()
	}
	var ended *exec.ExitError
	if err == nil || errors.As(err, &ended) || errors.Is(err, exec.ErrWaitDelay) {
		return e.cmd.ProcessState.ExitCode(), nil
	}
	return -1, fmt.Errorf("exec: %w", err)
}
