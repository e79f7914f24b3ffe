package means

import "time"

// Usage is what a backend has used and uses.
type Usage struct {
	CPU    time.Duration
	Memory int64 // bytes
}

// Usage measures a backend: CPU time of its cgroup, or of the processes that
// run, and the memory that these have.
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
	}
	if u, ok := m.groups.usage(id.directory()); ok && id.grouped() {
		sum.CPU = u.CPU
	}
	return sum, nil
}
