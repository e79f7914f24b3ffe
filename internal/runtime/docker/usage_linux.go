package docker

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"plane/internal/drone/means"
	"plane/internal/runtime"
)

// usageOf reads the cgroups of a container's first process.
func usageOf(pid int) (u runtime.Usage, ok bool) {
	if pid <= 0 {
		return u, false
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	b, err := os.ReadFile(filepath.Join(proc, "cgroup"))
	if err != nil {
		return u, false
	}
	at := map[string]string{} // controller → its directory; "" is version 2
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || f[2] == "/" {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			at[c] = filepath.Join("/sys/fs/cgroup", c, f[2])
		}
	}
	u.Received, u.Sent = means.Traffic(pid)
	if dir, v1 := at["memory"]; v1 {
		u.CPU = time.Duration(value(filepath.Join(at["cpuacct"], "cpuacct.usage")))
		u.Pids = value(filepath.Join(at["pids"], "pids.current"))
		return remember(u, value(filepath.Join(dir, "memory.usage_in_bytes")), field(filepath.Join(dir, "memory.stat"), "total_inactive_file")), true
	}
	dir, v2 := at[""]
	if _, err := os.Stat(filepath.Join(dir, "memory.current")); !v2 || err != nil {
		return u, false
	}
	u.CPU = time.Duration(field(filepath.Join(dir, "cpu.stat"), "usage_usec")) * time.Microsecond
	u.Pids = value(filepath.Join(dir, "pids.current"))
	return remember(u, value(filepath.Join(dir, "memory.current")), field(filepath.Join(dir, "memory.stat"), "inactive_file")), true
}

func remember(u runtime.Usage, usage, inactive int64) runtime.Usage {
	u.Memory, u.Cache = held(usage, inactive), min(inactive, usage)
	return u
}

func value(path string) int64 {
	b, _ := os.ReadFile(path)
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

func field(path, name string) int64 {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}
