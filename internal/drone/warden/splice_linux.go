package warden

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// move carries what a pipe holds into a file within the kernel, so that a
// warden that is killed meanwhile loses none of it. It returns 0 at the end of
// the pipe, and EAGAIN if there is nothing now.
func move(pipe int, to *os.File, most int) (int, error) {
	for {
		n, err := unix.Splice(pipe, nil, int(to.Fd()), nil, most, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if !errors.Is(err, unix.EINTR) {
			return int(n), err
		}
	}
}
