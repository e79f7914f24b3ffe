package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	enough    = 32 << 10 // bytes of a response that are gathered before they are sent
	lingerFor = 500 * time.Millisecond
)

// Values of conn.until beside a deadline.
const (
	busy    = 0
	overdue = -1
)

// conn is a client's connection with HTTP/1.
type conn struct {
	p    *Proxy
	h2   *h2
	nc   net.Conn
	src  source
	req  request
	body body
	x    exchange
	out  []byte // of the response, not yet sent
	// until is when the next request's head must have begun or arrived, in Unix
	// nanoseconds. Whoever swaps it for busy or overdue owns the connection.
	until    atomic.Int64
	upgraded atomic.Bool
	chunks   bool // the response is sent in chunks
	last     bool // the connection ends after this response
	linger   bool // the client may still be sending
	one      [1]byte
}

func newConn(p *Proxy, nc net.Conn, h2 *h2) *conn {
	c := &conn{p: p, nc: nc, h2: h2}
	c.src.open(nc)
	c.x = exchange{p: p, client: c, flush: c.flush, req: &c.req, body: &c.body, peer: peerOf(nc.RemoteAddr()), scheme: "http"}
	c.until.Store(time.Now().Add(p.cfg.Timeouts.ReadHeader).UnixNano())
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	return c
}

// serve does one exchange after another.
func (c *conn) serve(ctx context.Context) {
	defer func() {
		if !c.x.handed {
			c.done()
			c.close()
		}
	}()
	for first := true; ; first = false {
		text, err := c.src.head(c.begun)
		if !c.claim() {
			return
		}
		if err != nil {
			if errors.Is(err, errHeadTooLong) {
				c.refuse(431)
			}
			return
		}
		if first && text == h2Greeting {
			c.upgraded.Store(true) // its exchanges are drained by h2
			c.h2.take(c.nc, append([]byte(text), c.src.buf[c.src.r:c.src.w]...))
			return
		}
		c.last, c.linger, c.chunks = c.p.leaving.Load(), false, false
		if status := parseRequest(text, &c.req); status != 0 {
			c.refuse(status)
			return
		}
		c.last = c.last || c.req.close
		c.body.open(&c.src, c.req.length)
		c.x.reset()
		keep := c.x.serve(ctx)
		c.linger = !c.body.ended
		if !keep || c.last || c.linger {
			return
		}
		c.src.release()
		c.until.Store(time.Now().Add(c.p.cfg.Timeouts.Idle).UnixNano())
		if c.p.leaving.Load() && c.src.buffered() == 0 {
			return
		}
	}
}

// begun is called when a head has arrived in part.
func (c *conn) begun() {
	old := c.until.Load()
	deadline := time.Now().Add(c.p.cfg.Timeouts.ReadHeader).UnixNano()
	if old > deadline {
		c.until.CompareAndSwap(old, deadline)
	}
}

// claim takes the connection for an exchange, unless it is overdue.
func (c *conn) claim() bool {
	for {
		old := c.until.Load()
		if old == overdue {
			return false
		}
		if c.until.CompareAndSwap(old, busy) {
			return true
		}
	}
}

// expire closes the connection if it has waited for too long.
func (c *conn) expire(now time.Time) {
	if old := c.until.Load(); old > 0 && old < now.UnixNano() && c.until.CompareAndSwap(old, overdue) {
		_ = c.nc.Close()
	}
}

// dismiss closes the connection if it waits for a request. It reports whether
// nothing is left to wait for: upgraded connections never end by themselves.
func (c *conn) dismiss() bool {
	if old := c.until.Load(); old > 0 && c.until.CompareAndSwap(old, overdue) {
		_ = c.nc.Close()
	}
	return c.until.Load() == overdue || c.upgraded.Load()
}

// refuse answers a head that can't be read.
func (c *conn) refuse(status int) {
	c.req = request{minor: 1, fields: c.req.fields[:0]}
	c.last, c.linger = true, true
	c.p.metrics.answered(kindNone, status)
	r, _ := answer{status: status}.response(c.p.server)
	if c.begin(r) == nil {
		c.flush()
	}
}

// close closes the connection. A client that is still sending would lose the
// response to a reset, so it gets a moment to read it.
func (c *conn) close() {
	if c.linger {
		if w, ok := c.nc.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
			_ = c.nc.SetReadDeadline(time.Now().Add(lingerFor))
			_, _ = io.CopyN(io.Discard, onlyReader{c.nc}, 1<<20)
		}
	}
	_ = c.nc.Close()
	if c.src.buf != nil {
		putBuffer(c.src.buf)
		c.src.buf = nil
	}
	c.dropOut()
}

// onlyReader hides what would make io.Copy use splice.
type onlyReader struct{ io.Reader }

func (c *conn) dropOut() {
	if c.out != nil {
		putBuffer(c.out)
		c.out = nil
	}
}

func (c *conn) room() {
	if c.out == nil {
		c.out = smallBuffers.Get().(*[smallBuffer]byte)[:0]
	}
}

func (c *conn) inform(r *response) error {
	if c.req.minor == 0 {
		return nil
	}
	c.room()
	c.out = appendStatus(c.out, r)
	for _, f := range r.fields {
		if !dropped(f.name, r.status) {
			c.out = appendField(c.out, f.name, f.value)
		}
	}
	c.out = append(c.out, "\r\n"...)
	return c.send()
}

func appendStatus(b []byte, r *response) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, ' ')
	b = append(b, r.reason...)
	return append(b, "\r\n"...)
}

func (c *conn) begin(r *response) error {
	c.room()
	c.out = appendStatus(c.out, r)
	for _, f := range r.fields {
		c.out = appendField(c.out, f.name, f.value)
	}
	switch {
	case r.status == 101 || r.status == 204:
	case r.length == 0 && r.declared == chunked: // of a HEAD or 304
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	case r.length >= 0 && r.declared >= 0:
		c.out = append(c.out, "Content-Length: "...)
		c.out = strconv.AppendInt(c.out, r.declared, 10)
		c.out = append(c.out, "\r\n"...)
	case r.length >= 0: // the same, of unknown length
	case c.req.minor == 0:
		c.last = true
	default:
		c.chunks = true
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	}
	c.last = c.last || c.p.leaving.Load()
	switch {
	case r.status == 101 || r.status == 426 && r.change != "":
		c.out = append(c.out, "Connection: Upgrade\r\n"...)
	case c.last:
		c.out = append(c.out, "Connection: close\r\n"...)
	case c.req.minor == 0:
		c.out = append(c.out, "Connection: keep-alive\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
	return nil
}

func (c *conn) write(b []byte) error {
	c.room()
	if c.chunks {
		c.out = append(appendHex(c.out, len(b)), "\r\n"...)
	}
	if len(c.out)+len(b) <= enough {
		c.out = append(c.out, b...)
	} else {
		if err := c.sendWith(b); err != nil {
			return err
		}
	}
	if c.chunks {
		c.out = append(c.out, "\r\n"...)
	}
	return nil
}

// send writes what is gathered.
func (c *conn) send() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

func (c *conn) sendWith(b []byte) error {
	v := net.Buffers{c.out, b}
	if len(c.out) == 0 {
		v = v[1:]
	}
	_, err := v.WriteTo(c.nc)
	c.out = c.out[:0]
	return err
}

// flush is send where nobody can be told of an error: the next write gives it.
func (c *conn) flush() { _ = c.send() }

func (c *conn) end(trailers []field) error {
	if c.chunks {
		c.out = append(c.out, "0\r\n"...)
		for _, f := range trailers {
			if !dropped(f.name, 200) {
				c.out = appendField(c.out, f.name, f.value)
			}
		}
		c.out = append(c.out, "\r\n"...)
	}
	err := c.send()
	c.dropOut()
	return err
}

func (c *conn) hijack(r *response) (*source, error) {
	c.upgraded.Store(true)
	if err := c.begin(r); err != nil {
		return nil, err
	}
	err := c.send()
	c.dropOut()
	c.req = request{minor: 1}
	return &c.src, err
}

func (c *conn) lookOut() {
	if c.src.buffered() > 0 {
		return // the next request, as it seems: its reader will notice
	}
	n, err := c.nc.Read(c.one[:])
	switch {
	case n == 1:
		c.src.first, c.src.peeked = c.one[0], true
	case isTimeout(err): // interrupted
	default:
		c.x.abort(errClientGone)
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func (c *conn) interrupt() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

func (c *conn) rest() { _ = c.nc.SetReadDeadline(time.Time{}) }

func (c *conn) skip() {
	for !c.body.ended && c.src.r < c.src.w && c.body.length != chunked {
		if _, err := c.body.next(); err != nil {
			break
		}
	}
	c.last = c.last || !c.body.ended
}

func (c *conn) done() {
	c.p.mu.Lock()
	delete(c.p.conns, c)
	c.p.mu.Unlock()
}

func (c *conn) kill() { _ = c.nc.Close() }

func reasonOf(status int) string {
	if s := http.StatusText(status); s != "" {
		return s
	}
	return "Status"
}
