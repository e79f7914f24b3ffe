package drone

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"plane/internal/wire"
)

// hostTimes are the ticks that all processors had been busy and there, when last
// looked at.
type hostTimes struct{ busy, all uint64 }

// lookAtHost tells what the machine has and uses. What it can't tell is 0.
func lookAtHost(dir string, before *hostTimes) wire.Host {
	h := wire.Host{CPUs: runtime.NumCPU()}
	now := cpuTimes()
	if before.all > 0 && now.all > before.all {
		h.CPUPercent = 100 * float64(now.busy-min(before.busy, now.busy)) / float64(now.all-before.all)
	}
	*before = now
	memory := memoryOf()
	h.Memory, h.MemoryUsed = memory["MemTotal"], memory["MemTotal"]-memory["MemAvailable"]
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil {
		h.Disk = int64(st.Blocks) * st.Bsize
		h.DiskUsed = h.Disk - int64(st.Bavail)*st.Bsize
	}
	return h
}

func cpuTimes() (t hostTimes) {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil || i > 8 { // what guests use is counted in user already
			continue
		}
		t.all += n
		if i != 4 && i != 5 { // idle, and idle for a disk
			t.busy += n
		}
	}
	return t
}

// memoryOf is in bytes.
func memoryOf() map[string]int64 {
	all := map[string]int64{}
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) > 0 {
			n, _ := strconv.ParseInt(f[0], 10, 64)
			all[name] = n << 10
		}
	}
	return all
}
