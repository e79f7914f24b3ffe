//go:build !linux

package means

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Withhold keeps what this process was started with, beside its standard input and
// outputs, from every program that is started from here.
func Withhold() {
	all, _ := os.ReadDir("/dev/fd")
	for _, e := range all {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}
