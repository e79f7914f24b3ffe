package proxy

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// halfOpen is how long one direction may stay silent once the other has ended.
const halfOpen = 30 * time.Second

// tunnel hands the client's connection and the backend's to each other, until
// both directions have ended or one has failed. Bytes are read and written
// plainly: splice would hold a pipe for every direction.
func (x *exchange) tunnel(u *upstream) {
	x.backend.upgrade(x)
	src, err := x.client.hijack(&x.resp)
	if err != nil {
		x.detach()
		_ = u.conn.Close()
		x.client.kill()
		return
	}
	u.src.late, u.src.waiting = nil, nil
	_ = u.conn.SetReadDeadline(time.Time{})
	x.head, x.resp = nil, response{}

	var half atomic.Bool
	var wg sync.WaitGroup
	copyOne := func(from *source, to net.Conn) {
		err := from.copyTo(to, &half)
		if err == nil {
			half.Store(true)
			_ = to.SetReadDeadline(time.Now().Add(halfOpen))
			if w, ok := to.(interface{ CloseWrite() error }); ok {
				err = w.CloseWrite()
			}
		}
		if err != nil {
			_ = u.conn.Close()
			x.client.kill()
		}
	}
	wg.Go(func() { copyOne(src, u.conn) })
	copyOne(&u.src, src.conn)
	wg.Wait()
	x.detach()
	_ = u.conn.Close()
	x.client.kill()
}

// copyTo writes everything that comes to c, up to the end. While it waits it
// holds no buffer.
func (s *source) copyTo(c net.Conn, half *atomic.Bool) error {
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
		s.r = s.w
	}
}
