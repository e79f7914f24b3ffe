//go:build !linux

package means

import (
	"errors"

	"golang.org/x/sys/unix"

	"plane"
)

// Status tells how the first process ended, once Ended has returned. Here that
// reaps it: its start time keeps it apart from a later process of its number.
func (m *Means) Status(h *Handle) (exit plane.Exit, mine, known bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(h.id.Pid, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid != h.id.Pid {
			return plane.Exit{}, false, false
		}
		return ofWait(int(ws)), true, true
	}
}

// Reap has nothing left to do here.
func (m *Means) Reap(int) {}
