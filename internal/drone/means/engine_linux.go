package means

import (
	"os"
	"path/filepath"
	"strings"
)

// thaw lets a process die whose cgroup of version 1 is frozen: it takes no
// signal until then.
func thaw(pid int) {
	b, _ := os.ReadFile(procFile(pid, "cgroup"))
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && f[1] == "freezer" && f[2] != "/" {
			_ = os.WriteFile(filepath.Join("/sys/fs/cgroup/freezer", f[2], "freezer.state"), []byte("THAWED"), 0)
		}
	}
}
