package proxy

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"
)

const (
	maxIdle = 64 // connections kept for one backend
	// idleLife is how long an unused connection is kept: servers that end theirs
	// do so after 5 s at the earliest, and must not do it under a request.
	idleLife = 4 * time.Second
	// trustFor is how long an unused connection is taken for good without a look.
	trustFor = 20 * time.Millisecond
)

// upstream is a connection to a backend.
type upstream struct {
	conn   net.Conn
	to     string // address
	src    source
	used   bool      // has carried an exchange before
	since  time.Time // unused
	waited bool      // for a response, longer than patience
	gather net.Buffers
	x      *exchange    // that uses it
	late   func() error // x.late
}

// dial opens a connection to a backend.
func (p *Proxy) dial(ctx context.Context, address string) (*upstream, error) {
	c, err := p.cfg.Dial(ctx, &net.Dialer{Timeout: p.cfg.Timeouts.Connect, KeepAlive: 15 * time.Second}, address)
	if err != nil {
		return nil, err
	}
	u := &upstream{conn: c, to: address}
	u.src.open(c)
	u.late = func() error { return u.x.late(u) }
	return u, nil
}

// takeIdle gives the connection to address that was used last, or nil. sure
// asks for a look at it: the request can't be sent twice.
func (b *backend) takeIdle(address string, sure bool) *upstream {
	for {
		b.mu.Lock()
		i := len(b.idle) - 1
		for i >= 0 && b.idle[i].to != address {
			i--
		}
		if i < 0 || b.route == nil {
			b.mu.Unlock()
			return nil
		}
		u := b.idle[i]
		b.idle = slices.Delete(b.idle, i, i+1)
		b.mu.Unlock()
		if !sure && time.Since(u.since) < trustFor || u.quiet() {
			return u
		}
		_ = u.conn.Close()
	}
}

// putIdle keeps a connection for the next exchange.
func (b *backend) putIdle(u *upstream, now time.Time) {
	u.used, u.since = true, now
	u.src.release()
	u.src.waiting, u.src.late, u.x = nil, nil, nil
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone != nil || b.forgotten || len(b.idle) >= maxIdle || b.route == nil || !b.leadsToLocked(u.to) || b.route.Status.Ending() {
		_ = u.conn.Close()
		return
	}
	b.idle = append(b.idle, u)
}

// leadsToLocked reports whether address is one of the backend's.
func (b *backend) leadsToLocked(address string) bool {
	if b.route.Address == address {
		return true
	}
	for _, a := range b.route.Ports {
		if a == address {
			return true
		}
	}
	return false
}

// dropIdleLocked closes the connections that no exchange uses.
func (b *backend) dropIdleLocked() {
	for _, u := range b.idle {
		_ = u.conn.Close()
	}
	b.idle = nil
}

// dropOld closes those unused for long.
func (b *backend) dropOld(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for n < len(b.idle) && now.Sub(b.idle[n].since) > idleLife {
		_ = b.idle[n].conn.Close()
		n++
	}
	if n > 0 {
		b.idle = append([]*upstream(nil), b.idle[n:]...)
	}
}

// quiet reports whether nothing came in, neither bytes nor an end: whatever
// comes unasked makes a connection useless.
func (u *upstream) quiet() bool {
	if u.src.buffered() > 0 {
		return false
	}
	if u.src.raw == nil {
		return true
	}
	quiet := false
	err := u.src.raw.Control(func(fd uintptr) {
		var b [1]byte
		for {
			_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if err == syscall.EINTR {
				continue
			}
			quiet = errors.Is(err, syscall.EAGAIN)
			return
		}
	})
	return err == nil && quiet
}

// write sends parts at once.
func (u *upstream) write(parts ...[]byte) error {
	if len(parts) == 1 {
		_, err := u.conn.Write(parts[0])
		return err
	}
	u.gather = append(u.gather[:0], parts...)
	g := u.gather
	_, err := g.WriteTo(u.conn)
	return err
}
