package means

import (
	"os"

	"plane"
)

// contained lists what runs of an engine's container: its init, whose end is
// that of its pid namespace. While it isn't known yet, whatever carries the marker.
func (m *Means) contained(id Identity) []int {
	if id.Pid == 0 {
		return m.search(listProcs(), id)
	}
	if !m.Alive(id) {
		return nil
	}
	return []int{id.Pid}
}

func (m *Means) killContained(id Identity) {
	for _, pid := range m.contained(id) {
		thaw(pid)
		_ = kill(pid, sigKill)
	}
}

// Contained finds the init of an engine's container by its marker: 0 if nothing
// of it runs. Of several processes it is the oldest.
func (m *Means) Contained(id plane.BackendID) (pid int, start uint64) {
	mark := m.mark(id)
	for _, p := range listProcs() {
		if p.Zombie || p.Pid == os.Getpid() || pid != 0 && p.Start >= start {
			continue
		}
		if hasMark(environ(p.Pid), mark) {
			pid, start = p.Pid, p.Start
		}
	}
	return pid, start
}
