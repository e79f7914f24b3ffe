//go:build !linux

package means

import (
	"errors"
	"syscall"
)

func (m *Means) place(Program, *syscall.SysProcAttr) (end func(), err error) {
	return func() {}, nil
}

func forkExec(mounts, path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	if mounts != "" {
		return 0, errors.New("this system has no mounts of a process's own")
	}
	return syscall.ForkExec(path, argv, attr)
}

func pidfdOf(*syscall.SysProcAttr) int { return -1 }
