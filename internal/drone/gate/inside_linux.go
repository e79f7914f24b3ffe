package gate

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"plane/internal/drone/means"
)

// outside is the network namespace of this process.
var outside = sync.OnceValues(func() (int, error) {
	return unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
})

// connectInside connects to a loopback address in the network namespace of a
// process, if that is still the one that began at start.
func connectInside(pid int, start uint64, port int) (*os.File, error) {
	ns, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("open the backend's network: %w; the drone must run as root", err)
	}
	defer unix.Close(ns)
	// Looked at after opening: if it is the one now, the namespace is its own.
	if now, ok := means.StartOf(pid); !ok || now != start {
		return nil, ErrGone
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		fd, err := socketInside(ns, family)
		if err != nil {
			if family == unix.AF_INET6 { // a namespace may have none
				return nil, ErrRefused
			}
			return nil, err
		}
		err = connectLoopback(fd, family, port)
		if err == nil {
			return os.NewFile(uintptr(fd), "backend"), nil
		}
		_ = unix.Close(fd)
		if !errors.Is(err, unix.ECONNREFUSED) && family == unix.AF_INET {
			return nil, fmt.Errorf("connect to the backend: %w", err)
		}
	}
	return nil, ErrRefused
}

// socketInside makes a socket in a namespace. A socket stays where it was made;
// a thread that can't come back is never used again.
func socketInside(ns, family int) (int, error) {
	home, err := outside()
	if err != nil {
		return -1, fmt.Errorf("open our own network: %w", err)
	}
	runtime.LockOSThread()
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return -1, fmt.Errorf("enter the backend's network: %w; the drone must run as root", err)
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		if err == nil {
			_ = unix.Close(fd)
		}
		return -1, fmt.Errorf("leave the backend's network: %w", back) // the thread ends with its goroutine: it stays locked
	}
	runtime.UnlockOSThread()
	if err != nil {
		return -1, fmt.Errorf("make a socket in the backend's network: %w", err)
	}
	return fd, nil
}

// patience is for a backlog that is full.
const patience = 2000 // ms

func connectLoopback(fd, family, port int) error {
	var to unix.Sockaddr = &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	if family == unix.AF_INET6 {
		to = &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
	}
	err := unix.Connect(fd, to)
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, patience)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = unix.ETIMEDOUT
		}
		if err != nil {
			return err
		}
		failed, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && failed != 0 {
			err = syscall.Errno(failed)
		}
		return err
	}
}
