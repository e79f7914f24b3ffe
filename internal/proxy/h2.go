package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// h2Greeting is how a client begins that knows this is HTTP/2, as far as it
// looks like a head of HTTP/1.
const h2Greeting = "PRI * HTTP/2.0\r\n\r\n"

// h2 serves the connections of clients that speak HTTP/2.
type h2 struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	active atomic.Int64 // exchanges

	mu   sync.Mutex // guards the fields below
	over bool       // no further exchange may begin
	work sync.WaitGroup
}

// enter counts an exchange in; leave must follow unless it is too late.
func (h *h2) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	h.work.Add(1)
	h.active.Add(1)
	return true
}

func (h *h2) leave() {
	h.active.Add(-1)
	h.work.Done()
}

func newH2(p *Proxy, ctx context.Context) *h2 {
	h := &h2{conns: make(chan net.Conn), closed: make(chan struct{})}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h.server = &http.Server{
		Protocols:         protocols,
		ReadHeaderTimeout: p.cfg.Timeouts.ReadHeader,
		IdleTimeout:       p.cfg.Timeouts.Idle,
		MaxHeaderBytes:    maxHead,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 250},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if h.enter() {
				defer h.leave()
				p.serveH2(ctx, w, r)
			}
		}),
		ErrorLog: nil,
	}
	return h
}

func (h *h2) serve() { _ = h.server.Serve(h) }

// take serves a connection of which greeting has been read, until it ends.
func (h *h2) take(nc net.Conn, greeting []byte) {
	c := &greetedConn{Conn: nc, greeting: greeting, done: make(chan struct{})}
	select {
	case h.conns <- c:
		<-c.done
	case <-h.closed:
		_ = nc.Close()
	}
}

// shutdown lets connections end as they get idle.
func (h *h2) shutdown() {
	h.stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_ = h.server.Shutdown(ctx) // the waiting is drain's
}

func (h *h2) close() {
	h.stop()
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	_ = h.server.Close()
	h.work.Wait()
}

func (h *h2) stop() { h.once.Do(func() { close(h.closed) }) }

// Accept, Close and Addr make it the server's listener.
func (h *h2) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (h *h2) Close() error {
	h.stop()
	return nil
}

// Addr is no address: connections come from elsewhere.
func (h *h2) Addr() net.Addr { return &net.TCPAddr{} }

// greetedConn gives back what was read of it.
type greetedConn struct {
	net.Conn
	greeting []byte
	once     sync.Once
	done     chan struct{}
}

func (c *greetedConn) Read(b []byte) (int, error) {
	if len(c.greeting) > 0 {
		n := copy(b, c.greeting)
		c.greeting = c.greeting[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *greetedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.done) })
	return err
}

// serveH2 does one exchange of HTTP/2.
func (p *Proxy) serveH2(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	c := &h2Client{w: w, control: http.NewResponseController(w), in: r}
	x := &exchange{p: p, client: c, flush: c.flush, req: &c.req, body: c, scheme: "http", peer: "unknown"}
	c.x = x
	if a, err := net.ResolveTCPAddr("tcp", r.RemoteAddr); err == nil {
		x.peer = peerOf(a)
	}
	status := c.read()
	x.reset()
	if status != 0 {
		x.say(answer{status: status})
		return
	}
	stop := context.AfterFunc(r.Context(), func() { x.abort(errClientGone) })
	defer stop()
	leave := context.AfterFunc(ctx, func() { x.abort(errLeaving) })
	defer leave()
	if x.serve(ctx); x.broken || !c.begun {
		panic(http.ErrAbortHandler) // the response is incomplete: say so
	}
}

// h2Client is one exchange of HTTP/2, as client and as body.
type h2Client struct {
	w       http.ResponseWriter
	control *http.ResponseController
	in      *http.Request
	req     request
	x       *exchange
	buf     []byte
	ended   bool // the body
	begun   bool // the response
	pending bool // something to flush
}

// read makes the request. It gives the status to refuse it with, or 0.
func (c *h2Client) read() int {
	r := &c.req
	r.method, r.minor = c.in.Method, 2
	r.fields = append(r.fields, field{"Host", c.in.Host})
	for name, values := range c.in.Header {
		for _, v := range values {
			r.fields = append(r.fields, field{name, v})
		}
	}
	if len(r.fields) > maxFields {
		return 431
	}
	if status := r.readFields(); status != 0 {
		return status
	}
	r.expect, r.change = false, ""
	r.length = c.in.ContentLength
	if c.in.Body == nil || c.in.Body == http.NoBody {
		r.length = 0
	}
	c.ended = r.length == 0
	if !isToken(r.method) || !isTarget(c.in.RequestURI) || c.in.RequestURI[0] != '/' {
		return 400
	}
	r.takeTarget(c.in.RequestURI)
	return 0
}

func (c *h2Client) inform(r *response) error {
	if r.status != http.StatusEarlyHints {
		return nil
	}
	h := c.w.Header()
	for _, f := range r.fields {
		if len(f.name) == 4 && matches(f.name, "link") {
			h.Add("Link", f.value)
		}
	}
	c.w.WriteHeader(r.status)
	clear(h)
	return nil
}

func (c *h2Client) begin(r *response) error {
	h := c.w.Header()
	for _, f := range r.fields {
		h[http.CanonicalHeaderKey(f.name)] = append(h[http.CanonicalHeaderKey(f.name)], f.value)
	}
	if r.declared >= 0 && r.status != 204 {
		h["Content-Length"] = []string{strconv.FormatInt(r.declared, 10)}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // not to be guessed
	}
	if _, ok := h["Date"]; !ok && r.minor > 0 {
		h["Date"] = nil
	}
	c.begun, c.pending = true, true
	c.w.WriteHeader(r.status)
	return nil
}

func (c *h2Client) write(b []byte) error {
	c.pending = true
	_, err := c.w.Write(b)
	return err
}

func (c *h2Client) flush() {
	if c.pending {
		c.pending = false
		_ = c.control.Flush()
	}
}

func (c *h2Client) end(trailers []field) error {
	for _, f := range trailers {
		if !dropped(f.name, 200) {
			c.w.Header().Add(http.TrailerPrefix+f.name, f.value)
		}
	}
	return nil
}

func (c *h2Client) hijack(*response) (*source, error) {
	return nil, errors.New("no upgrade over HTTP/2")
}

func (c *h2Client) lookOut() {} // the request's context tells

func (c *h2Client) interrupt() {
	if c.x.sent { // else there was nothing to wait for, and the body is still to be sent
		_ = c.in.Body.Close()
	}
}

func (c *h2Client) rest() {}

func (c *h2Client) skip() {}

func (c *h2Client) done() {}

func (c *h2Client) kill() {
	past := time.Unix(1, 0)
	_ = c.control.SetWriteDeadline(past)
	_ = c.control.SetReadDeadline(past)
}

func (c *h2Client) next() ([]byte, error) {
	if c.ended {
		return nil, io.EOF
	}
	if c.buf == nil {
		c.buf = make([]byte, 16<<10)
	}
	n, err := c.in.Body.Read(c.buf)
	if err == io.EOF {
		c.ended = true
		if n > 0 {
			err = nil
		}
	}
	return c.buf[:n], err
}

func (c *h2Client) atEnd() bool { return c.ended }

func (c *h2Client) trailing() []field {
	var fields []field
	for name, values := range c.in.Trailer {
		for _, v := range values {
			if isToken(name) && isValue(v) {
				fields = append(fields, field{name, v})
			}
		}
	}
	return fields
}
