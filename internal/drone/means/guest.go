package means

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"plane"
)

// Guest is a command that runs beside a backend's own program, for somebody. It
// is found whatever it does: it has the backend's cgroup and marker, so that it
// ends with the backend, and beside them a cgroup or marker of its own.
type Guest struct {
	// Wanders says that something else moves it to cgroups of its choice.
	Wanders bool

	m    *Means
	of   Identity
	name string

	mu    sync.Mutex // guards the fields below
	pid   int        // of its first process, if that is a child of ours
	start uint64
	leaf  bool // it is in a cgroup of its own: nothing else needs to be looked for
}

const (
	guestPrefix = "exec-"
	guestMark   = "!" // between data directory and name; those of backends have a colon
)

// NewGuest names a guest of a backend. Its name tells by whom it is run, so that
// the warden ends what an agent has left behind.
func (m *Means) NewGuest(of Identity) *Guest {
	return &Guest{m: m, of: of, name: fmt.Sprintf("%s%d-%s", guestPrefix, os.Getpid(), rand.Text())}
}

// agentOf tells by whom a guest is run.
func agentOf(name string) (pid int, ok bool) {
	rest, ok := strings.CutPrefix(name, guestPrefix)
	number, _, found := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(number)
	return pid, ok && found && err == nil
}

func (g *Guest) mark() string { return g.m.hash + guestMark + g.name }

// MarkEnv is the entry for its environment.
func (g *Guest) MarkEnv() string { return g.m.MarkEnv(g.of.Backend) + " " + g.mark() }

// Command is a guest of a backend that is a command of this machine, ready to
// be started: x has its words and directory, and the limits of the backend that
// a process sets itself. Its errors are sentences.
func (g *Guest) Command(x plane.Executable, env []string) (*exec.Cmd, error) {
	env = tidy(append(env[:len(env):len(env)], g.MarkEnv()))
	dir := x.Dir
	if dir == "" {
		dir = "/"
	}
	path, err := find(x.Command[0], dir, env)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{Path: path, Args: x.Command, Env: env, Dir: dir}
	if script := joinScript(g.of.Pid) + ulimits(x.Limits); script != "" {
		cmd.Path = "/bin/sh"
		cmd.Args = append([]string{"/bin/sh", "-c", script + `exec "$@"`}, shellWords(x.Command, path, env)...)
	}
	return cmd, nil
}

// ulimits sets, as far as this machine lets it, what the backend's own program
// has.
func ulimits(l plane.ResourceLimits) (script string) {
	if n := l.OpenFilesLimit; n != nil {
		script += fmt.Sprintf("ulimit -n %d || exit 126\n", *n)
	}
	if n := l.CPUTimeLimit; n != nil {
		script += fmt.Sprintf("ulimit -t %d || exit 126\n", *n)
	}
	return script
}

// Unstartable makes a sentence of why a Command couldn't be started, whose first
// word is that.
func Unstartable(err error, cmd *exec.Cmd, word string) error {
	return explain(err, word, cmd.Path, cmd.Dir)
}

// Started notes its first process, a child of ours that hasn't been waited for.
func (g *Guest) Started(pid int) {
	start, _ := StartOf(pid)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pid, g.start = pid, start
}

// guestPatience is how long a guest is killed again and again.
const guestPatience = 5 * time.Second

// End kills all of it, until nothing is left. It may be called twice.
func (g *Guest) End() {
	repeat(context.Background(), func() bool { return g.Kill() == 0 })
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaf {
		g.m.groups.clean(g.dir())
	}
}

// dir is its cgroup, as if it were a backend's.
func (g *Guest) dir() plane.BackendID {
	return plane.BackendID(string(g.of.directory()) + "/" + g.name)
}

// Kill sends SIGKILL to all of it and tells how many processes these were.
func (g *Guest) Kill() (found int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaf {
		if err := g.m.groups.kill(g.dir()); err != nil {
			g.m.log.Error("a cgroup can't be killed", "backend", g.of.Backend, "command", g.name, "error", err)
		}
		pids, err := g.m.groups.procs(g.dir())
		if found = len(pids); err != nil {
			found++
		}
		if !g.Wanders {
			return found
		}
	}
	for _, pid := range newCensus().of(g.mark(), g.pid, g.start) {
		if g.of.Engine {
			thaw(pid)
		}
		_ = kill(pid, sigKill)
		found++
	}
	return found
}

// repeat does f until it says that nothing is left.
func repeat(ctx context.Context, f func() (gone bool)) {
	end := time.Now().Add(guestPatience)
	for pause := time.Millisecond; !f() && time.Now().Before(end); pause = min(2*pause, 50*time.Millisecond) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// EndGuests ends what agents run that are not there any more.
func (m *Means) EndGuests(ctx context.Context, there func(agent int) bool) {
	left := func(name string) bool {
		agent, ok := agentOf(name)
		return ok && !there(agent)
	}
	repeat(ctx, func() bool {
		gone := true
		for _, dir := range m.groups.guests() {
			if !left(dir.name) {
				continue
			}
			_ = m.groups.kill(dir.of)
			if pids, err := m.groups.procs(dir.of); err != nil || len(pids) > 0 {
				gone = false
				continue
			}
			m.groups.clean(dir.of)
		}
		for _, p := range listProcs() {
			if p.Zombie || p.Pid == os.Getpid() {
				continue
			}
			for _, mark := range marks(environ(p.Pid)) {
				if name, ok := strings.CutPrefix(mark, m.hash+guestMark); ok && left(name) {
					_ = kill(p.Pid, sigKill)
					gone = false
				}
			}
		}
		return gone
	})
}

// guestGroup is the cgroup of a guest.
type guestGroup struct {
	of   plane.BackendID // its path below the base, as if it were a backend's
	name string
}
