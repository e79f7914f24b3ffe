package oci

import (
	"os"
	"path/filepath"
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
