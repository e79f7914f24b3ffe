package means

import (
	"os"

	"plane"
)

// contained lists what runs of an engine's container: its init, whose end is
// that of its pid namespace. While that isn't known, or has ended, whatever
// carries the marker: an engine that was asked twice may start it again.
func (m *Means) contained(id Identity) []int {
	if id.Pid != 0 && m.Alive(id) {
		return []int{id.Pid}
	}
	return m.search(newCensus(), Identity{Backend: id.Backend})
}

// killContained kills the init that is known, and reports whether it runs.
func (m *Means) killContained(id Identity) bool {
	if id.Pid == 0 || !m.Alive(id) {
		return false
	}
	thaw(id.Pid)
	m.killExactly(id)
	return true
}

// Contained finds the init of an engine's container by its marker: 0 if nothing
// of it runs. Of several processes it is the oldest.
func (m *Means) Contained(id plane.BackendID) (pid int, start uint64) {
	mark := m.mark(id)
	all := newCensus()
	for _, p := range all.procs {
		if p.Zombie || p.Pid == os.Getpid() || pid != 0 && p.Start >= start {
			continue
		}
		if all.marked(p.Pid, mark) {
			pid, start = p.Pid, p.Start
		}
	}
	return pid, start
}
