package warden

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// newPipe makes the pipe for a backend's output: ours doesn't block, the
// backend's does, as programs expect.
func newPipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err == nil {
		if err = blocking(w); err != nil {
			_, _ = r.Close(), w.Close()
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	return r, w, nil
}

// newControl makes the pipe on which the init of a sandbox waits: its end blocks.
func newControl() (end, control *os.File, err error) {
	end, control, err = os.Pipe()
	if err == nil {
		if err = blocking(end); err != nil {
			_, _ = end.Close(), control.Close()
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make pipe: %w", err)
	}
	return end, control, nil
}

func blocking(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { _ = unix.SetNonblock(int(fd), false) })
}

// adoptPipe takes over the reading end from a descriptor.
func adoptPipe(fd int) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "output")
}

// buffers are lent only while there is something to read, so that an idle
// backend costs none.
var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// drain copies r until its end, or until ctx is done: then what is still in the
// pipe is left to the next reader.
func drain(ctx context.Context, r *os.File, to *output, lost func(error)) {
	raw, err := r.SyscallConn()
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	told := false
	for more := true; more; {
		err := raw.Read(func(fd uintptr) bool {
			if !readable(int(fd)) { // so that no file is made before there is output
				return false
			}
			switch n, err := to.take(int(fd)); {
			case err == nil:
				more = n > 0
				return true
			case errors.Is(err, unix.EAGAIN):
				return false
			}
			buf := buffers.Get().(*[32 << 10]byte)
			defer buffers.Put(buf)
			n, err := unix.Read(int(fd), buf[:])
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				return errors.Is(err, unix.EINTR)
			}
			if more = n > 0 && err == nil; !more {
				return true
			}
			if _, err := to.Write(buf[:n]); err != nil && !told {
				told = true
				lost(err)
			}
			return true
		})
		if err != nil {
			return
		}
	}
}

// readable reports whether a read of the pipe wouldn't block, also for its end.
func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}
