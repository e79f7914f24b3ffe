package warden

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/drone/means"
)

// launchContainer runs what makes the first process, and finds that. When it
// fails, what it made is being killed; the end of ctx makes it fail.
func (w *warden) launchContainer(ctx context.Context, p means.Program, l Launch, output *os.File) (means.Started, error) {
	// The limits of a process are the launcher's business: it sets them for what
	// it makes, not for itself.
	limits := p.Executable.Limits
	limits.OpenFilesLimit, limits.CPUTimeLimit = nil, nil
	p.Executable = plane.Executable{Command: l.Argv, Dir: l.Dir, Limits: limits}
	p.Env, p.Mounts = l.Env, l.Mounts
	p.Trouble = filepath.Join(w.home.OutputDir(), "."+filepath.Base(l.PidFile)+"."+rand.Text())
	defer os.Remove(p.Trouble)
	_ = os.Remove(l.PidFile)
	forked := w.orphans.Starting() // until the end: the first process is an orphan before we know it
	first := 0
	defer func() { forked(first) }()
	input, err := means.NoInput()
	if err != nil {
		return means.Started{}, fmt.Errorf("start container: %w", err)
	}
	p.Input = input
	s, err := w.means.Start(p)
	_ = input.Close()
	if err != nil {
		return s, err
	}
	launcher := means.NewHandle(s.Identity, s.Pidfd)
	defer launcher.Close()
	if err := w.means.Ended(ctx, launcher); err != nil {
		w.means.Kill(s.Identity)
		return s, fmt.Errorf("start container: %w", err)
	}
	exit, _, _ := w.means.Status(launcher)
	w.means.Reap(s.Identity.Pid)
	pid, err := readPid(l.PidFile)
	if exit.Code == nil || *exit.Code != 0 || err != nil {
		w.means.Kill(s.Identity)
		return s, launchTrouble(p.Trouble, output, exit, err)
	}
	first = pid
	s.Identity.Pid = pid
	s.Identity.Start, _ = means.StartOf(pid)
	s.Pidfd = -1
	if h := w.means.OpenHandle(s.Identity); h != nil {
		s.Pidfd = h.Duplicate()
		h.Close()
	}
	return s, nil
}

func readPid(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err == nil && pid <= 1 {
		err = errors.New("no number of a process")
	}
	return pid, err
}

// launchTrouble says why a launcher made nothing: in its own words.
func launchTrouble(trouble string, output *os.File, exit plane.Exit, missing error) error {
	if b, err := os.ReadFile(trouble); err == nil && len(b) > 0 {
		return errors.New(string(b))
	}
	said := make([]byte, 4<<10)
	n := 0
	if raw, err := output.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), said) })
	}
	if text := strings.TrimSpace(string(said[:max(n, 0)])); text != "" {
		return fmt.Errorf("the container could not be started: %s", text)
	}
	if exit.Signal != "" {
		return fmt.Errorf("the container could not be started: its launcher was ended by %s", exit.Signal)
	}
	if missing != nil && exit.Code != nil && *exit.Code == 0 {
		return fmt.Errorf("the container could not be started: its launcher left no process: %w", missing)
	}
	return errors.New("the container could not be started: its launcher failed and said nothing")
}
