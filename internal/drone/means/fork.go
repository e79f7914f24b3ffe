package means

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"plane"
)

// Program is what to start.
type Program struct {
	Backend    plane.BackendID
	Executable plane.Executable
	Env        []string // the last entry of a name counts
	Input      *os.File // its standard input; nil = the machine's /dev/null
	Output     *os.File // its standard output and error
	Listener   *os.File // its descriptor 3, or nil
	Group      Group
	Control    *os.File // its descriptor 3, or nil, instead of Listener
	Mounts     string   // path of a mount namespace that it runs in; "" = that of this process
	Trouble    string   // file for a sentence that says why it could not be executed, where that shows after Start
}

// NoInput is a standard input with nothing in it. Those that make containers give
// what they have as standard streams to the container's root: the machine's /dev/null
// would be its own then, to close for everybody.
func NoInput() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return r, w.Close()
}

// Identity is that of p before it runs.
func (p Program) Identity() Identity { return Identity{Backend: p.Backend, Group: p.Group} }

// Started is a program that runs.
type Started struct {
	Identity Identity
	Pidfd    int      // -1 = none; the caller's
	Warnings []string // limits that the system can't set, once per kind
}

// Start runs p in a session of its own. It returns once the program has been
// executed. Its errors are sentences that say what to do.
func (m *Means) Start(p Program) (Started, error) {
	env := tidy(append(p.Env[:len(p.Env):len(p.Env)], m.MarkEnv(p.Backend)))
	dir := p.Executable.Dir
	if dir == "" {
		dir = "/"
	}
	path, err := find(p.Executable.Command[0], dir, env)
	if err != nil {
		return Started{}, err
	}
	argv := p.Executable.Command
	attr := &syscall.ProcAttr{Dir: dir, Env: env, Sys: &syscall.SysProcAttr{Setsid: true}}
	if p.Input == nil {
		if p.Input, err = os.Open(os.DevNull); err != nil {
			return Started{}, fmt.Errorf("start program: %w", err)
		}
		defer p.Input.Close()
	}
	attr.Files = []uintptr{p.Input.Fd(), p.Output.Fd(), p.Output.Fd()}
	for _, f := range []*os.File{p.Listener, p.Control} {
		if f != nil {
			attr.Files = append(attr.Files, f.Fd())
		}
	}
	end, err := m.place(p, attr.Sys)
	if err != nil {
		return Started{}, err
	}
	defer end()
	var s Started
	p.Trouble = cmp.Or(p.Trouble, os.DevNull)
	var script []string
	script, s.Warnings = m.prelude(p)
	if len(script) > 0 {
		if err := os.MkdirAll(filepath.Dir(p.Trouble), 0o700); err != nil {
			return s, fmt.Errorf("start program: %w", err)
		}
		argv = append([]string{"/bin/sh", "-c", strings.Join(append(script, handOver(p.Trouble, argv[0])...), "\n")}, shellWords(argv, path, env)...)
		path = "/bin/sh"
	}
	pid, err := forkExec(p.Mounts, path, argv, attr)
	if err != nil {
		return Started{}, explain(err, p.Executable.Command[0], path, dir)
	}
	s.Identity = Identity{Backend: p.Backend, Pid: pid, Group: p.Group}
	s.Identity.Start, _ = StartOf(pid) // our child, so it is there even if it has ended
	s.Pidfd = pidfdOf(attr.Sys)
	return s, nil
}

func missingWithoutGroups(l plane.ResourceLimits) []string {
	var missing []string
	if l.MemoryLimitBytes != nil {
		missing = append(missing, "memory")
	}
	if l.PidsLimit != nil {
		missing = append(missing, "pids")
	}
	if l.CPUPeriodPercent != nil {
		missing = append(missing, "cpu")
	}
	return missing
}

// OutOfMemory reports whether the kernel killed in this backend for its limit.
func (m *Means) OutOfMemory(id Identity) bool { return m.groups.outOfMemory(id.directory()) }

// tidy keeps the last entry of each name.
func tidy(env []string) []string {
	last := make(map[string]int, len(env))
	for i, e := range env {
		name, _, _ := strings.Cut(e, "=")
		last[name] = i
	}
	out := make([]string, 0, len(last))
	for i, e := range env {
		if name, _, _ := strings.Cut(e, "="); last[name] == i {
			out = append(out, e)
		}
	}
	return out
}

// Check reports whether the program can be found and executed, and how to mend
// it if not.
func Check(x plane.Executable, env []string) error {
	dir := x.Dir
	if dir == "" {
		dir = "/"
	}
	_, err := find(x.Command[0], dir, tidy(env))
	return err
}

// find looks for the program as a shell would in dir with env.
func find(name, dir string, env []string) (string, error) {
	switch st, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("directory %s does not exist; create it or change the app's dir", dir)
	case err != nil:
		return "", fmt.Errorf("directory %s can't be used: %w", dir, err)
	case !st.IsDir():
		return "", fmt.Errorf("%s is not a directory; change the app's dir", dir)
	}
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return path, usable(path, name)
	}
	search := "/usr/local/bin:/usr/bin:/bin"
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	var denied error
	for _, d := range filepath.SplitList(search) {
		if d == "" {
			d = "."
		}
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		path := filepath.Join(d, name)
		err := usable(path, name)
		if err == nil {
			return path, nil
		}
		if _, gone := os.Stat(path); gone == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fmt.Errorf("command %q was not found in PATH; install it, or give its full path", name)
}

func usable(path, name string) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("command %q does not exist (looked for %s); build it, or correct the command", name, path)
	case err != nil:
		return fmt.Errorf("command %q can't be used: %w", name, err)
	case st.IsDir():
		return fmt.Errorf("command %q is a directory (%s); name a program in it", name, path)
	case st.Mode()&0o111 == 0:
		return fmt.Errorf("command %q may not be executed; run chmod +x %s", name, path)
	}
	return nil
}

func explain(err error, name, path, dir string) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("command %q is no program of this system; a script must begin with a line such as #!/bin/sh", name)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("command %q names an interpreter that does not exist; look at the first line of %s", name, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("command %q may not be executed in %s by this user; check the rights of %s", name, dir, path)
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("command %q: arguments and environment together are too long for this system", name)
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM):
		return fmt.Errorf("command %q: the system has no room for another process: %w", name, err)
	}
	return fmt.Errorf("start %q: %w", name, err)
}
