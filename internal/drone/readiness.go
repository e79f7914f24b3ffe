package drone

import (
	"context"
	"io"
	"net"
	"time"

	"plane"
	"plane/internal/runtime"
)

// The pauses between attempts: none longer than a millisecond at first, when
// programs that start quickly become ready, and then rarer.
const (
	probeEager   = 200 * time.Millisecond
	probePatient = 10 * time.Second
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

// probe tells when the backend answers.
func (r *runner) probe(ctx context.Context) {
	address, p := r.state.Address, r.process
	answers := connects
	if r.exec.Listen == plane.ListenInherit || r.exec.Runtime() == "image" {
		// Someone else made the socket: that it takes connections says nothing.
		answers = answersHTTP
	}
	r.helpers.Go(func() {
		for began := time.Now(); ; {
			if answers(ctx, address) && r.owns(ctx, p) {
				r.tell(plane.Event{Kind: plane.EventReady})
				return
			}
			if !sleep(ctx, probePause(time.Since(began))) {
				return
			}
		}
	})
}

func connects(ctx context.Context, address string) bool {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// answersHTTP waits for the first bytes of an answer for as long as the
// connection lasts.
func answersHTTP(ctx context.Context, address string) bool {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", address)
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
// the system tells: after a crash someone else may have its port.
func (r *runner) owns(ctx context.Context, p runtime.Process) bool {
	l, ok := p.(runtime.Listener)
	if !ok {
		return true
	}
	owns, _, known, err := l.Listening(ctx)
	return err == nil && (owns || !known)
}

// inspect warns, once, of a backend that can be reached past the proxy.
func (r *runner) inspect(ctx context.Context) {
	l, ok := r.process.(runtime.Listener)
	if !ok || r.adopted {
		return
	}
	r.helpers.Go(func() {
		_, everywhere, known, err := l.Listening(ctx)
		if err != nil || !known || !everywhere {
			return
		}
		const warning = "it listens on all interfaces, where no token protects it; have it listen on 127.0.0.1 (HOST)"
		r.log.Warn("backend can be reached past the proxy: " + warning)
		r.show(Moment{Kind: MomentWarning, Line: warning})
		text := warning
		r.warning.Store(&text)
	})
}
