package process

import (
	"context"
	"os/exec"
	"strings"

	"plane/internal/drone/means"
	"plane/internal/runtime"
	"plane/internal/runtime/line"
)

// Exec runs another command beside the backend's own. See runtime.Execer.
func (p *process) Exec(ctx context.Context, c runtime.Command) (int, error) {
	m, id := p.Look()
	guest := m.NewGuest(id)
	x := c.Unit.Executable
	x.Command = c.Argv
	cmd, err := guest.Command(x, terminalEnv(c))
	if err != nil {
		return -1, err
	}
	g := &line.Guest{Backend: &p.Backend, Guest: guest, Command: c, Cmd: cmd, Start: func() error { return start(cmd, c.Argv[0]) }}
	return g.Run(ctx)
}

func start(cmd *exec.Cmd, word string) error {
	if err := cmd.Start(); err != nil {
		return means.Unstartable(err, cmd, word)
	}
	return nil
}

// terminalEnv is the backend's environment, and what a terminal is.
func terminalEnv(c runtime.Command) []string {
	env := c.Unit.Env
	if !c.TTY {
		return env
	}
	for _, e := range env {
		if strings.HasPrefix(e, "TERM=") && e != "TERM=" && e != "TERM=dumb" {
			return env
		}
	}
	return append(env[:len(env):len(env)], "TERM=xterm")
}
