package means

import (
	"fmt"
	"syscall"
)

// place makes the child begin in its cgroup and gives us a pidfd of it.
func (m *Means) place(p Program, sys *syscall.SysProcAttr) (end func(), err error) {
	if m.portable {
		return func() {}, nil
	}
	sys.PidFD = new(int)
	*sys.PidFD = -1
	if p.Group == NoGroup || m.groups == nil {
		return func() {}, nil
	}
	dir, err := m.groups.make(p.Identity().directory())
	if err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	sys.UseCgroupFD, sys.CgroupFD = true, int(dir.Fd())
	return func() { _ = dir.Close() }, nil
}

func pidfdOf(sys *syscall.SysProcAttr) int {
	if sys.PidFD == nil {
		return -1
	}
	return *sys.PidFD
}
