package drone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/runtime"
	"plane/internal/wait"
)

// The pauses between attempts: none longer than a millisecond at first, when
// programs that start quickly become ready, and then rarer.
const (
	probeEager   = 200 * time.Millisecond
	probePatient = 10 * time.Second
	probeHint    = 3 * time.Second // then people are told what is waited for
)

func probePause(waited time.Duration) time.Duration {
	switch {
	case waited < probeEager:
		return 500 * time.Microsecond
	case waited < probePatient:
		return 7 * time.Millisecond
	default:
		return 50 * time.Millisecond
	}
}

// strangerPause follows n looks in a row that found the socket of somebody
// else: such a look lists all that listen, so it must not be repeated eagerly.
func strangerPause(n int) time.Duration {
	if n == 0 {
		return 0
	}
	return min(time.Millisecond<<min(n, 10), 100*time.Millisecond)
}

// probe tells when the backend answers.
func (r *runner) probe(ctx context.Context) {
	address, p := r.state.Address, r.process
	answers := connects
	if r.exec.Listen == plane.ListenInherit || r.exec.Kind() == plane.KindImage {
		// Someone else made the socket: that it takes connections says nothing.
		answers = func(ctx context.Context, address string) bool { return answersHTTP(ctx, r.Dial, address) }
	}
	hint := r.probeHint()
	r.helpers.Go(func() {
		hinted, strangers := false, 0
		for began := time.Now(); ; {
			taken := answers(ctx, address)
			if taken && r.owns(ctx, p) {
				r.tell(plane.Event{Kind: plane.EventReady})
				return
			}
			if strangers++; !taken {
				strangers = 0
			}
			if !hinted && time.Since(began) > probeHint {
				hinted = true
				r.warn(hint)
			}
			if !wait.For(ctx, max(probePause(time.Since(began)), strangerPause(strangers))) {
				return
			}
		}
	})
}

// probeHint says what is waited for.
func (r *runner) probeHint() string {
	if r.exec.Kind() == plane.KindImage {
		return fmt.Sprintf("not ready after %v: nothing in the container answers HTTP on port %d yet; a program must listen on $PORT, or the app say its port", probeHint, r.given.main)
	}
	return fmt.Sprintf("not ready after %v: nothing of it answers at %s yet; a program must listen on 127.0.0.1:$PORT", probeHint, r.state.Address)
}

// connects reports whether somebody takes connections at address. On loopback
// the kernel answers at once, so the attempt costs three system calls and waits
// for nothing: it is made many times.
func connects(_ context.Context, address string) bool {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return false
	}
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if ip := at.Addr().Unmap(); ip.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: ip.As4()}
	}
	syscall.ForkLock.RLock() // nothing forked meanwhile inherits the socket
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return false
	}
	if err := unix.Connect(fd, to); !errors.Is(err, unix.EINPROGRESS) {
		return err == nil
	}
	const patience = 5 // ms, for a backlog that is full: the next attempt comes soon
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, patience); err != nil || n == 0 {
		return false
	}
	failed, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	return err == nil && failed == 0
}

// answersHTTP waits for the first bytes of an answer for as long as the
// connection lasts.
func answersHTTP(ctx context.Context, dial Dial, address string) bool {
	c, err := dial(ctx, &net.Dialer{Timeout: time.Second}, address)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if _, err := io.WriteString(c, "HEAD / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: plane-ready\r\nConnection: close\r\n\r\n"); err != nil {
		return false
	}
	b := make([]byte, len("HTTP/"))
	_, err = io.ReadFull(c, b)
	return err == nil && string(b) == "HTTP/"
}

// owns reports whether it is the backend's own processes that listen, where
// the system tells: after a crash someone else may have its port. It warns of
// a backend that can be reached past the proxy.
func (r *runner) owns(ctx context.Context, p runtime.Process) bool {
	l, ok := p.(runtime.Listener)
	if !ok {
		return true
	}
	owns, everywhere, known, err := l.Listening(ctx)
	if err != nil || known && !owns {
		return false
	}
	if everywhere {
		r.warn("it listens on all interfaces, where no token protects it; have it listen on 127.0.0.1 (HOST)")
	}
	return true
}

// warn tells people, here and at the controller, of something to mend.
func (r *runner) warn(text string) {
	r.log.Warn(text)
	r.show(Moment{Kind: MomentWarning, Line: text})
	r.warning.Store(&text)
}
