package proxy

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// halfOpen is how long one direction may stay silent once the other has ended.
const halfOpen = 30 * time.Second

// tunnel is a client's connection and a backend's that are handed to each
// other, until both directions have ended or one has failed. Bytes are read and
// written plainly: splice would hold a pipe for every direction.
type tunnel struct {
	x    *exchange
	u    *upstream
	half atomic.Bool  // one direction has ended
	left atomic.Int32 // directions
}

// tunnel begins to copy both ways, in goroutines that begin with small stacks:
// most of the time they wait. The exchange is theirs from now on.
func (x *exchange) tunnel(u *upstream) {
	x.handed = true
	t := &tunnel{x: x, u: u}
	x.backend.upgrade(x)
	x.p.metrics.answered(x.kind, x.resp.status)
	src, err := x.client.hijack(&x.resp)
	if err != nil {
		t.end()
		return
	}
	u.src.late, u.src.waiting = nil, nil
	_ = u.conn.SetReadDeadline(time.Time{})
	x.head, x.resp, x.ticket = nil, response{}, ticket{}
	t.left.Store(2)
	x.p.tunnels.Go(func() { t.copy(src, u.conn, x.p.metrics.sent) })
	x.p.tunnels.Go(func() { t.copy(&u.src, src.conn, x.p.metrics.received) })
}

// copy carries one direction. The second to end ends the tunnel.
func (t *tunnel) copy(from *source, to net.Conn, count func(int)) {
	err := from.copyTo(to, &t.half, count)
	if err == nil {
		t.half.Store(true)
		_ = to.SetReadDeadline(time.Now().Add(halfOpen))
		if w, ok := to.(interface{ CloseWrite() error }); ok {
			err = w.CloseWrite()
		}
	}
	if err != nil {
		_ = t.u.conn.Close()
		t.x.client.kill()
	}
	if t.left.Add(-1) == 0 {
		t.end()
	}
}

func (t *tunnel) end() {
	t.x.detach()
	_ = t.u.conn.Close()
	t.x.client.kill()
	t.x.backend.release(t.x)
	t.x.client.done()
}

// copyTo writes everything that comes to c, up to the end, and counts it. While it waits it
// holds no buffer.
func (s *source) copyTo(c net.Conn, half *atomic.Bool, count func(int)) error {
	for {
		if s.r == s.w {
			if !s.filled {
				s.release()
			}
			if half.Load() {
				_ = s.conn.SetReadDeadline(time.Now().Add(halfOpen))
			}
			if err := s.fill(); err != nil {
				s.release()
				if err == io.EOF {
					return nil
				}
				return err
			}
		}
		if _, err := c.Write(s.buf[s.r:s.w]); err != nil {
			return err
		}
		count(s.w - s.r)
		s.r = s.w
	}
}
