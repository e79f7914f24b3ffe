package means

import "time"

// Usage is what a backend has used and uses. What can't be told is 0.
type Usage struct {
	CPU    time.Duration
	Memory int64 // bytes that can't be given up: of a cgroup, usage less inactive page cache, as Plane 0.5 counts
	Cache  int64 // bytes of inactive page cache; 0 without a cgroup that counts memory
	Pids   int64 // processes and threads
}

// Usage measures a backend by its cgroups, and by looking at its processes where
// these count nothing.
func (m *Means) Usage(id Identity) (Usage, error) {
	pids, err := m.Procs(id)
	if err != nil {
		return Usage{}, err
	}
	var sum Usage
	for _, pid := range pids {
		u := procUsage(pid)
		sum.CPU += u.CPU
		sum.Memory += u.Memory
		sum.Pids += u.Pids
	}
	if !id.grouped() {
		return sum, nil
	}
	c := m.groups.counters(id.directory())
	if cpu, ok := c.cpu(); ok {
		sum.CPU = cpu
	}
	if memory, cache, ok := c.memory(); ok {
		sum.Memory, sum.Cache = memory, cache
	}
	if n, ok := c.pids(); ok {
		sum.Pids = n
	}
	return sum, nil
}

// split tells inactive page cache from the rest of the usage. The two are read
// one after the other, so that the cache may be more than all.
func split(usage, inactive int64) (memory, cache int64) {
	cache = min(max(inactive, 0), usage)
	return usage - cache, cache
}
