package dockertest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// attributes: dockerd and containerd end when this process does.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

func stopped(pid int) bool {
	b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return strings.Contains(string(b), ") T ")
}

// end ends everything of the engine, whatever state it is in.
func (e *Engine) end(t TB) {
	t.Helper()
	if t.Failed() {
		t.Logf("dockerd said:\n%s", e.said())
	}
	for _, p := range []*part{e.dockerd, e.containerd} {
		if p != nil {
			_ = p.process.Kill()
			p.await(t)
		}
	}
	sockets := e.shimSockets()
	// Containers first: what their shims do for them is done then.
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		left := e.processes()
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("processes of the engine stay: %v", left)
			break
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	for _, m := range e.mounts() {
		if err := syscall.Unmount(m, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", m, err)
		}
	}
	for _, s := range sockets {
		_ = os.Remove(s)
	}
	e.removeGroups(t)
	if err := os.RemoveAll(e.dir); err != nil {
		t.Errorf("remove: %v", err)
	}
}

// processes are containerd, the shims, and what runs in the containers' cgroups.
func (e *Engine) processes() []int {
	var all []int
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		group, _ := os.ReadFile(filepath.Join(p, "cgroup"))
		ours := len(line) > 0 && strings.Contains(string(line), e.dir+"/") ||
			strings.Contains(string(group), ":"+e.group()+"/")
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil && ours && pid != os.Getpid() && !zombie(p) {
			all = append(all, pid)
		}
	}
	return all
}

func zombie(proc string) bool {
	b, err := os.ReadFile(filepath.Join(proc, "stat"))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// shimSockets lists what shims that are killed leave in a directory that all
// engines share.
func (e *Engine) shimSockets() []string {
	files, _ := filepath.Glob(filepath.Join(e.dir, "exec/containerd/io.containerd.runtime.v2.task/moby/*/address"))
	var all []string
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if path, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "unix://"); ok {
			all = append(all, path)
		}
	}
	return all
}

// mounts lists those below the engine's directory, the innermost first.
func (e *Engine) mounts() []string {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	var all []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], e.dir+"/") {
			all = append(all, f[4])
		}
	}
	slices.Reverse(all)
	return all
}

// removeGroups removes its cgroups, the innermost first. Processes that have just
// ended hold them for a moment, and may have made one yet.
func (e *Engine) removeGroups(t TB) {
	var left []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		left = nil
		for _, pattern := range []string{"/sys/fs/cgroup" + e.group(), "/sys/fs/cgroup/*" + e.group()} {
			tops, _ := filepath.Glob(pattern)
			for _, top := range tops {
				_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
					if err == nil && d.IsDir() {
						left = append(left, path)
					}
					return nil
				})
			}
		}
		if len(left) == 0 {
			return
		}
		for _, dir := range slices.Backward(left) {
			_ = os.Remove(dir)
		}
	}
	t.Errorf("cgroups are left: %v", left)
}
