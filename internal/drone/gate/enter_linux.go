package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/drone/table"
)

// open gives a connected socket of the backend's namespace.
func (g *Gate) open(ctx context.Context, id plane.BackendID, port int) (*os.File, error) {
	e, err := g.admit(id)
	if err != nil {
		return nil, err
	}
	fd, pending, err := g.enter(ctx, e, port)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "backend")
	if pending {
		if err := established(ctx, f); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return f, nil
}

// enter makes the socket on a thread that is inside for some microseconds. A
// thread that can't come back ends with its goroutine.
func (g *Gate) enter(ctx context.Context, e table.Entry, port int) (fd int, pending bool, err error) {
	g.init()
	select {
	case g.turns <- struct{}{}:
	case <-ctx.Done():
		return -1, false, ctx.Err()
	}
	done := make(chan struct{})
	go func() { // waited for below: it blocks on nothing
		defer close(done)
		defer func() { <-g.turns }()
		runtime.LockOSThread()
		var back bool
		if fd, pending, back, err = inside(e, port); back {
			runtime.UnlockOSThread()
		}
	}()
	<-done
	return fd, pending, err
}

// inside connects from within; back reports whether the thread is where it was.
func inside(e table.Entry, port int) (fd int, pending, back bool, err error) {
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false, true, fmt.Errorf("open the drone's own network namespace: %w", err)
	}
	defer unix.Close(own)
	ns, err := unix.Open("/proc/"+strconv.Itoa(e.Pid)+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH):
		return -1, false, true, ErrGone
	case err != nil:
		return -1, false, true, fmt.Errorf("open the backend's network namespace: %w; the drone must run as root", err)
	}
	defer unix.Close(ns)
	if !runs(e) {
		return -1, false, true, ErrGone
	}
	var here, there unix.Stat_t
	if err := errors.Join(unix.Fstat(own, &here), unix.Fstat(ns, &there)); err != nil {
		return -1, false, true, fmt.Errorf("look at network namespaces: %w", err)
	}
	if here.Ino == there.Ino && here.Dev == there.Dev {
		return -1, false, true, ErrShared
	}
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return -1, false, true, fmt.Errorf("enter the backend's network namespace: %w; the drone must run as root", err)
	}
	fd, pending, err = loopback(port)
	if unix.Setns(own, unix.CLONE_NEWNET) != nil {
		return fd, pending, false, err
	}
	return fd, pending, true, err
}

// loopback begins a connection to 127.0.0.1, or to [::1] if nobody listens
// there. The kernel answers at once, unless a backlog is full.
func loopback(port int) (fd int, pending bool, err error) {
	four := unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	six := unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
	fd, pending, err = begin(unix.AF_INET, &four)
	if errors.Is(err, ErrRefused) {
		fd, pending, err = begin(unix.AF_INET6, &six)
		if err != nil { // it may have no IPv6 at all
			return -1, false, ErrRefused
		}
	}
	return fd, pending, err
}

func begin(family int, to unix.Sockaddr) (fd int, pending bool, err error) {
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, false, fmt.Errorf("make a socket: %w", err)
	}
	for {
		err = unix.Connect(fd, to)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil:
			return fd, false, nil
		case errors.Is(err, unix.EINPROGRESS):
			// On loopback the answer is mostly there already.
			var done bool
			if done, err = outcome(fd); err == nil {
				return fd, !done, nil
			}
		}
		_ = unix.Close(fd)
		return -1, false, refusal(err)
	}
}

// outcome is what became of a connection under way.
func outcome(fd int) (done bool, err error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
	if n == 0 || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return true, err
}

func refusal(err error) error {
	if errors.Is(err, unix.ECONNREFUSED) {
		return ErrRefused
	}
	return fmt.Errorf("connect to the backend: %w", err)
}

// established waits for a connection under way.
func established(ctx context.Context, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("connect to the backend: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var failed error
	looked := false
	err = raw.Write(func(fd uintptr) bool {
		looked, failed = outcome(int(fd))
		return looked
	})
	switch {
	case looked && failed != nil:
		return refusal(failed)
	case looked:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("connect to the backend: %w", err)
}
