package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"plane/internal/drone/means"
)

// host is what this machine has for sandboxes.
type host struct {
	launcher  string // path of crun or runc
	version   string // its own first line
	runc      bool
	hide      []string // cgroup2 beside cgroups of version 1: crun refuses hosts with both
	cgroups   string   // v1, v2 or hybrid
	ownCounts bool     // processes are counted per user namespace
	idmap     *os.File // a user namespace with the sandboxes' users; nil = none can be made
	why       error    // why idmap is nil
}

// look finds it out.
func look(ctx context.Context, wanted string) (*host, error) {
	h := &host{}
	var err error
	if h.launcher, err = findLauncher(wanted); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, h.launcher, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s doesn't tell its version: %w", h.launcher, err)
	}
	h.version, _, _ = strings.Cut(string(out), "\n")
	h.runc = strings.HasPrefix(h.version, "runc")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("look at mounts: %w", err)
	}
	h.cgroups, h.hide = cgroupKind(string(mounts))
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("look at the kernel: %w", err)
	}
	h.ownCounts = countsApart(unix.ByteSliceToString(uts.Release[:]))
	h.idmap, h.why = userNamespace()
	return h, nil
}

// countsApart reports whether a kernel counts the processes of a user in every
// user namespace by itself: from 5.14 on.
func countsApart(release string) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && (major > 5 || major == 5 && minor >= 14)
}

func findLauncher(wanted string) (string, error) {
	if wanted != "" {
		path, err := find(wanted)
		if err != nil {
			return "", fmt.Errorf("the oci runtime is to use %s, which is not there; install it or name another", wanted)
		}
		return path, nil
	}
	for _, name := range []string{"crun", "runc"} {
		if path, err := find(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("neither crun nor runc is installed, one of which the oci runtime needs; install crun (apt-get install crun)")
}

// find looks where such programs are too if PATH is a user's.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && !strings.Contains(name, "/") {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// cgroupKind reads /proc/self/mountinfo. hide is where cgroup2 is mounted
// beside version 1.
func cgroupKind(mountinfo string) (kind string, hide []string) {
	var v1, v2 []string
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 1 {
			continue
		}
		switch g[0] {
		case "cgroup":
			v1 = append(v1, f[4])
		case "cgroup2":
			v2 = append(v2, f[4])
		}
	}
	switch {
	case len(v1) > 0 && len(v2) > 0:
		return "hybrid", v2
	case len(v1) > 0:
		return "v1", nil
	case len(v2) > 0:
		return "v2", nil
	}
	return "none", nil
}

// userNamespace makes one with the users of sandboxes, which lives as long as
// the file is open. Only a new process can be in it; that one ends at once.
func userNamespace() (*os.File, error) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: shift, Size: mapped}}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Ptrace: true,
	}
	var ns *os.File
	err := means.Aside(func() error { // it is stopped before its first instruction, and this thread is its tracer
		if err := cmd.Start(); err != nil {
			return err
		}
		var err error
		ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("this kernel makes no user namespace here (%w); set user.max_user_namespaces above 0, or let sandboxes run without one", err)
	}
	return ns, nil
}

// close gives back what it holds.
func (h *host) close() {
	if h.idmap != nil {
		_ = h.idmap.Close()
	}
}

// launch is the command that runs a bundle's container.
func (h *host) launch(state string, b bundle, id string, control bool) []string {
	argv := []string{h.launcher}
	if !h.runc {
		argv = append(argv, "--cgroup-manager=disabled")
	}
	argv = append(argv, "--root", state, "run", "--detach", "--pid-file", b.path(pidFile), "--bundle", b.dir)
	if control {
		argv = append(argv, "--preserve-fds", "1")
	}
	return append(argv, id)
}
