package means

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Withhold keeps what this process was started with, beside its standard input and
// outputs, from every program that is started from here: descriptors of whoever
// started the drone are no business of a backend.
func Withhold() {
	const closeOnExec = 1 << 2 // CLOSE_RANGE_CLOEXEC
	if unix.CloseRange(3, 1<<31-1, closeOnExec) == nil {
		return
	}
	all, _ := os.ReadDir("/proc/self/fd") // a kernel before 5.11
	for _, e := range all {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
