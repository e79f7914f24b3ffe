//go:build !linux

package means

import "syscall"

func (m *Means) place(Program, *syscall.SysProcAttr) (end func(), err error) {
	return func() {}, nil
}

func pidfdOf(*syscall.SysProcAttr) int { return -1 }
