package means

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"plane"
)

const tick = time.Second / 100 // USER_HZ, the same on every Linux

func procUsage(pid int) Usage {
	stat, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return Usage{}
	}
	f := statFields(stat)
	if len(f) < 18 {
		return Usage{}
	}
	u := Usage{Pids: 1}
	if n, err := strconv.ParseInt(string(f[17]), 10, 64); err == nil {
		u.Pids = n // threads
	}
	for _, i := range []int{11, 12, 13, 14} { // utime, stime, and those of children waited for
		n, _ := strconv.ParseInt(string(f[i]), 10, 64)
		u.CPU += time.Duration(n) * tick
	}
	statm, _ := os.ReadFile(procFile(pid, "statm"))
	if words := strings.Fields(string(statm)); len(words) > 2 {
		resident, _ := strconv.ParseInt(words[1], 10, 64)
		shared, _ := strconv.ParseInt(words[2], 10, 64)
		u.Memory = (resident - shared) * int64(os.Getpagesize())
	}
	return u
}

// counters are the cgroups that count for somebody, by what they count; "" =
// none does.
type counters struct {
	v2                       string
	v1cpu, v1memory, v1tasks string
}

// counters of a backend: those of version 1 are there only where a limit asked
// for them.
func (g *groups) counters(id plane.BackendID) counters {
	if g == nil {
		return counters{}
	}
	return counters{v2: g.of(id), v1memory: g.v1("memory", id), v1tasks: g.v1("pids", id)}
}

// UsageIn measures what has cgroups of its own, which aren't ours, by its first
// process. ok is false where these count no memory.
func UsageIn(pid int) (u Usage, ok bool) {
	p := PlaceOf(pid)
	c := counters{v2: p.V2, v1cpu: p.of("cpuacct"), v1memory: p.of("memory"), v1tasks: p.of("pids")}
	u.CPU, _ = c.cpu()
	u.Pids, _ = c.pids()
	u.Memory, u.Cache, ok = c.memory()
	return u, ok
}

func (c counters) cpu() (time.Duration, bool) {
	if n, ok := value(c.v1cpu, "cpuacct.usage"); ok {
		return time.Duration(n), true
	}
	n, ok := field(c.v2, "cpu.stat", "usage_usec")
	return time.Duration(n) * time.Microsecond, ok
}

func (c counters) memory() (memory, cache int64, ok bool) {
	if n, ok := value(c.v2, "memory.current"); ok {
		inactive, _ := field(c.v2, "memory.stat", "inactive_file")
		memory, cache = split(n, inactive)
		return memory, cache, true
	}
	n, ok := value(c.v1memory, "memory.usage_in_bytes")
	inactive, _ := field(c.v1memory, "memory.stat", "total_inactive_file")
	memory, cache = split(n, inactive)
	return memory, cache, ok
}

func (c counters) pids() (int64, bool) {
	if n, ok := value(c.v2, "pids.current"); ok {
		return n, true
	}
	return value(c.v1tasks, "pids.current")
}

// value reads a file of a cgroup that holds one number.
func value(dir, name string) (int64, bool) {
	if dir == "" {
		return 0, false
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// field reads one line of a file of a cgroup that holds several numbers.
func field(dir, name, key string) (int64, bool) {
	if dir == "" {
		return 0, false
	}
	b, _ := os.ReadFile(filepath.Join(dir, name))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key+" "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
