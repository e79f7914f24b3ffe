package means

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pollable makes the runtime's poller watch a pidfd, so that waiting for an end
// takes no thread.
func pollable(fd int) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "pidfd")
}

// OpenHandle finds the first process of id, or nil if it isn't there.
func (m *Means) OpenHandle(id Identity) *Handle {
	if m.portable {
		if !m.Alive(id) {
			return nil
		}
		return NewHandle(id, -1)
	}
	fd, err := unix.PidfdOpen(id.Pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if p, ok := readProc(id.Pid); !ok || p.Start != id.Start { // read after opening: now it can't change any more
		if err == nil {
			_ = unix.Close(fd)
		}
		return nil
	}
	if err != nil {
		return NewHandle(id, -1)
	}
	return NewHandle(id, fd)
}

// waitReadable waits for a pidfd; done is false if it can't be polled.
func waitReadable(ctx context.Context, f *os.File) (done bool, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false, nil
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = raw.Read(func(fd uintptr) bool { return readable(int(fd)) })
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return true, ctx.Err()
	case errors.Is(err, os.ErrClosed):
		return true, err
	}
	return false, nil
}

func readable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// killExactly kills the first process of id and no other that has its number.
func (m *Means) killExactly(id Identity) {
	h := m.OpenHandle(id)
	if h == nil {
		return
	}
	defer h.Close()
	if h.fd < 0 || unix.PidfdSendSignal(h.fd, sigKill, nil, 0) != nil {
		_ = kill(id.Pid, sigKill)
	}
}
