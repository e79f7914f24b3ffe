package means

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"plane"
)

const (
	cldExited    = 1
	statusOffset = 24 // of si_status in siginfo, on every 64-bit Linux
	pidOffset    = 16
)

// Status tells how the first process ended, once Ended has returned. mine
// reports whether it is our child, which stays a zombie until Reap; known
// whether exit says anything.
func (m *Means) Status(h *Handle) (exit plane.Exit, mine, known bool) {
	if info, err := waitid(unix.P_PID, h.id.Pid); err == nil && pidOf(info) == h.id.Pid {
		status := int(*(*int32)(unsafe.Add(unsafe.Pointer(info), statusOffset)))
		if info.Code == cldExited {
			return exited(status), true, true
		}
		return signalled(status), true, true
	}
	if h.fd < 0 {
		return plane.Exit{}, false, false
	}
	// Linux 6.15 tells it of a process that another one has reaped.
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(h.fd, &info); err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
		return ofWait(int(info.Exit_code)), false, true
	}
	return plane.Exit{}, false, false
}

func waitid(kind, id int) (*unix.Siginfo, error) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(kind, id, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return &info, err
		}
	}
}

func pidOf(info *unix.Siginfo) int {
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), pidOffset)))
}

// Reap lets go of the pid of an ended child.
func (m *Means) Reap(pid int) { reap(pid) }

func reap(pid int) {
	for {
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
