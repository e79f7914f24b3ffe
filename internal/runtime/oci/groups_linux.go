package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// containerGroup is where runc puts a container's cgroups, which it can't do
// without: below those that the warden made for the limits, so that these hold.
func containerGroup(hash, id string) string { return filepath.Join("/plane-"+hash, id, "c") }

// removeGroups removes what runc made and doesn't remove itself, in every
// hierarchy, and what that leaves empty above it.
func removeGroups(group string) {
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		mounts, _ := filepath.Glob(pattern)
		for _, m := range mounts {
			if os.Remove(filepath.Join(m, group)) != nil {
				continue
			}
			_ = os.Remove(filepath.Join(m, filepath.Dir(group)))
			if _, err := os.Stat(filepath.Join(m, "tasks")); err == nil { // in version 2 it is the warden's
				_ = os.Remove(filepath.Join(m, filepath.Dir(filepath.Dir(group))))
			}
		}
	}
}

// groups are the cgroups of a process that aren't the root's.
type groups struct {
	v1 []string // files to write a pid to
	v2 string   // directory
}

func groupsOf(pid int) groups {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return parseGroups(string(b), "/sys/fs/cgroup")
}

// parseGroups reads /proc/PID/cgroup.
func parseGroups(text, mount string) groups {
	var g groups
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || f[2] == "/" {
			continue
		}
		if f[1] == "" {
			g.v2 = filepath.Join(mount, f[2])
			if _, err := os.Stat(filepath.Join(mount, "unified")); err == nil {
				g.v2 = filepath.Join(mount, "unified", f[2])
			}
			continue
		}
		controller := strings.TrimPrefix(f[1], "name=")
		g.v1 = append(g.v1, filepath.Join(mount, controller, f[2], "cgroup.procs"))
	}
	return g
}

// script has a shell enter those that a clone can't be made in.
func (g groups) script() string {
	var b strings.Builder
	for _, file := range g.v1 {
		b.WriteString("echo $$ > '" + strings.ReplaceAll(file, "'", `'\''`) + "' || exit 126\n")
	}
	return b.String()
}
