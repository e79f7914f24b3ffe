package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"plane"
)

// patience is how long a backend may take before the proxy begins to look
// whether the client is still there. Most requests are over before.
const patience = 200 * time.Millisecond

// maxInforms is how many 1xx responses may precede a response.
const maxInforms = 32

// client is the way back to whoever made a request.
type client interface {
	// inform passes a 1xx response on.
	inform(r *response) error
	// begin writes a final response's head. Nothing needs to be sent before
	// flush, write of much, or end.
	begin(r *response) error
	write(b []byte) error
	flush()
	end(trailers []field) error
	// hijack writes a 101 response and hands the connection over.
	hijack(r *response) (*source, error)
	// lookOut returns when the client has gone away, which aborts the exchange,
	// or can't be watched, or when interrupted. Nobody else reads meanwhile.
	lookOut()
	// interrupt ends waits for the client's bytes until rest is called.
	interrupt()
	rest()
	// skip reads the rest of a request's body if that takes no time. Otherwise
	// the connection ends after the response.
	skip()
	// kill ends the connection, from any goroutine.
	kill()
	// done is called once a tunnel has ended.
	done()
}

// bodyReader is a request's body.
type bodyReader interface {
	// next gives bytes that stay good until the following call, or io.EOF.
	next() ([]byte, error)
	// atEnd reports whether next has given everything.
	atEnd() bool
	trailing() []field
}

// exchange is one request on its way. One value serves a connection's requests
// one after another.
type exchange struct {
	p      *Proxy
	client client
	flush  func() // the client's
	req    *request
	body   bodyReader
	host   string // normal form of req.host
	peer   string
	scheme string
	ticket ticket
	head   []byte   // of the request for the backend
	resp   response // the backend's
	answer body
	pump   *pump
	sent   bool // something of the body was taken
	handed bool // to a tunnel, which releases it
	broken bool // the response has begun and won't be completed

	// Of the backend, guarded by its lock while it counts the exchange in.
	backend    *backend
	claims     *plane.Claims
	address    string
	prev, next *exchange
	upgraded   bool

	mu      sync.Mutex // guards the fields below
	cause   error
	cancel  context.CancelFunc // of slow
	up      *upstream
	started bool // something of the response was sent
}

// reset prepares for the next request.
func (x *exchange) reset() {
	x.mu.Lock()
	x.cause, x.cancel, x.up, x.started = nil, nil, nil, false
	x.mu.Unlock()
	x.upgraded, x.sent, x.broken, x.claims = false, false, false, nil
	x.host = normalHost(x.req.host)
}

// abort ends the exchange as soon as possible, for a reason. Any goroutine may
// call it, and more than once. When it returns, no byte more goes to the backend.
func (x *exchange) abort(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause == nil {
		x.cause = cause
	}
	if x.cancel != nil {
		x.cancel()
	}
	if x.up != nil {
		_ = x.up.conn.Close()
	}
	if x.started {
		x.client.kill()
	}
}

// why gives the reason for which the exchange was aborted, or nil.
func (x *exchange) why() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cause
}

// attach makes abort close u, unless it came before.
func (x *exchange) attach(u *upstream) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause != nil {
		return false
	}
	x.up = u
	return true
}

// detach ends attach. It reports false if abort has closed u.
func (x *exchange) detach() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.up = nil
	return x.cause == nil
}

// start marks that the response begins. It reports false if it must not.
func (x *exchange) start() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.started = x.cause == nil
	return x.started
}

// slow prepares for a wait: the context ends with the exchange, and the client's
// leaving is noticed. done must be called.
func (x *exchange) slow(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	x.mu.Lock()
	if x.cause != nil {
		cancel()
	}
	x.cancel = cancel
	x.mu.Unlock()
	x.watch()
	return ctx, func() {
		x.stopPump()
		x.mu.Lock()
		x.cancel = nil
		x.mu.Unlock()
		cancel()
	}
}

// pump is the goroutine that reads the client while a backend answers.
type pump struct {
	done     chan struct{}
	watching bool        // there is no body
	taken    atomic.Bool // the whole body has come from the client
	stopping atomic.Bool
	complete bool // and has been sent; to be read once done is closed
}

// watch looks out for the client's leaving.
func (x *exchange) watch() {
	if x.pump != nil {
		return
	}
	p := &pump{done: make(chan struct{}), watching: true, complete: true}
	x.pump = p
	go func() {
		defer close(p.done)
		x.client.lookOut()
	}()
}

// send carries the request's body to the backend, then looks out.
func (x *exchange) send(u *upstream) {
	p := &pump{done: make(chan struct{})}
	x.pump = p
	x.sent = true
	go func() {
		defer close(p.done)
		if err := x.sendBody(p, u); err != nil {
			return
		}
		p.complete = true
		x.client.lookOut()
	}()
}

func (x *exchange) sendBody(p *pump, u *upstream) error {
	inChunks := x.req.length == chunked
	for {
		b, err := x.body.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if !p.stopping.Load() {
				cause := errClientGone
				if errors.Is(err, errMalformed) {
					cause = errBadBody
				}
				x.abort(cause)
			}
			return err
		}
		if x.body.atEnd() {
			p.taken.Store(true)
		}
		if inChunks {
			err = u.write(fmt.Appendf(nil, "%x\r\n", len(b)), b, []byte("\r\n"))
		} else {
			err = u.write(b)
		}
		if err != nil {
			return err // the backend may have answered nonetheless
		}
	}
	p.taken.Store(true)
	if !inChunks {
		return nil
	}
	end := []byte("0\r\n")
	for _, f := range x.body.trailing() {
		if !reserved(f.name) && !perHop(f.name) && !untrailed(f.name) {
			end = appendField(end, f.name, f.value)
		}
	}
	return u.write(append(end, "\r\n"...))
}

// stopPump ends the goroutine that reads the client, if there is one. It
// reports whether the request's body has been sent completely.
func (x *exchange) stopPump() bool {
	p := x.pump
	if p == nil {
		return true
	}
	x.pump = nil
	p.stopping.Store(true)
	x.mu.Lock()
	if x.up != nil && !p.watching {
		limit := time.Now()
		if p.taken.Load() {
			limit = limit.Add(time.Second) // the last write is on its way
		}
		_ = x.up.conn.SetWriteDeadline(limit)
	}
	x.mu.Unlock()
	x.client.interrupt()
	<-p.done
	x.client.rest()
	x.mu.Lock()
	if x.up != nil && !p.watching {
		_ = x.up.conn.SetWriteDeadline(time.Time{})
	}
	x.mu.Unlock()
	return p.complete
}

// serve does the exchange. It reports whether the client's connection can carry
// another one.
func (x *exchange) serve(ctx context.Context) bool {
	r := x.req
	t := decide(x.p.names, x.p.session.dev.Load(), x.host, r.path, x.opens)
	switch t.meaning {
	case meansNothing:
		return x.say(answer{status: t.status})
	case meansReserved:
		return x.say(answer{status: 404})
	case meansReady:
		if !x.p.Ready() {
			return x.say(answer{status: 503})
		}
		return x.say(answer{status: 200})
	case meansRoot:
		if x.p.cfg.RootRedirect != "" {
			return x.say(answer{status: 301, location: x.p.cfg.RootRedirect})
		}
		return x.say(answer{status: 400})
	case meansKey:
		if crossSite(r) {
			return x.say(answer{status: 403})
		}
	}
	return x.carry(ctx, t)
}

func (x *exchange) opens(segment string) bool {
	_, err := x.p.session.ring.Load().Open(segment)
	return err == nil
}

// carry takes the request to a backend and the response back. On a key URL whose
// backend ends before it answers, the next one may be tried.
func (x *exchange) carry(ctx context.Context, t target) bool {
	cors := t.meaning == meansToken
	for tries := 0; ; tries++ {
		tk, refused := x.ticketFor(ctx, t)
		if refused == nil {
			refused = x.admit(ctx, tk)
		}
		if refused != nil {
			a := *refused
			a.cors = cors
			return x.say(a)
		}
		b := x.backend
		keep, failed := x.forward(ctx, tk, t, cors)
		if x.handed {
			return false
		}
		if failed == nil {
			b.release(x)
			return keep
		}
		a := x.explain(ctx, b, failed)
		b.release(x)
		if a.status == 410 && t.meaning == meansKey && !x.sent && tries < 2 && x.forget() {
			continue
		}
		if a.backend = b.id; t.meaning == meansKey && a.status == 410 {
			a.status, a.retryAfter = 503, 1
		}
		a.cors = cors
		return x.say(a)
	}
}

// forget lets an exchange whose backend ended be carried to another one.
func (x *exchange) forget() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if errors.Is(x.cause, errEnded) || errors.Is(x.cause, errSuperseded) {
		x.cause = nil
	}
	return x.cause == nil
}

// explain is the answer for an exchange that failed before its response began.
func (x *exchange) explain(ctx context.Context, b *backend, err error) answer {
	x.stopPump()
	if cause := x.why(); cause != nil {
		return *x.refusal(cause)
	}
	var malformed *backendError
	if errors.As(err, &malformed) {
		x.p.log.Warn("a backend's response was refused", "backend", b.id, "error", err)
		return answer{status: malformed.status}
	}
	wait, done := x.slow(ctx)
	ended := x.confirm(wait, b)
	done()
	if cause := x.why(); cause != nil {
		return *x.refusal(cause)
	}
	if ended {
		return gone
	}
	x.p.log.Warn("can't reach a backend", "backend", b.id, "error", err)
	return answer{status: 502}
}

// refusal is the answer for an aborted exchange.
func (x *exchange) refusal(cause error) *answer {
	switch {
	case errors.Is(cause, errLeaving):
		return &later
	case errors.Is(cause, errBadBody):
		return &answer{status: 400}
	}
	return &gone
}

// say answers by itself.
func (x *exchange) say(a answer) bool {
	if errors.Is(x.why(), errClientGone) {
		return false
	}
	x.client.skip()
	r, text := a.response(x.p.server)
	r.declared = r.length
	if err := x.client.begin(r); err != nil {
		return false
	}
	if text != "" && x.req.method != "HEAD" {
		if err := x.client.write([]byte(text)); err != nil {
			return false
		}
	}
	return x.client.end(nil) == nil
}

// backendError is a response that can't be passed on.
type backendError struct {
	status int
	why    string
}

func (e *backendError) Error() string { return e.why }

// forward sends the request and relays the response. failed is not nil if no
// byte of a response has reached the client.
func (x *exchange) forward(ctx context.Context, tk *ticket, t target, cors bool) (keep bool, failed error) {
	b, r := x.backend, x.req
	x.head = appendRequest(x.head[:0], r, onward{
		path: t.path, peer: x.peer, scheme: x.scheme, backend: b.id, who: tk.who,
	})
	repeatable := r.length == 0 && r.idempotent() && r.change == ""
	u := b.takeIdle(x.address, !repeatable)
	for {
		fresh := u == nil
		if fresh {
			var err error
			if u, err = x.dial(ctx); err != nil {
				return false, err
			}
		}
		if !x.attach(u) {
			_ = u.conn.Close()
			return false, x.why()
		}
		err := x.request(u)
		if err == nil {
			err = x.response(u)
		}
		if err == nil {
			return x.relay(u, cors)
		}
		// A connection that was kept may have been closed meanwhile: then
		// nothing of this request was heard.
		x.stopPump()
		x.detach()
		_ = u.conn.Close()
		if fresh || !repeatable || x.why() != nil || !errors.Is(err, errUnheard) {
			return false, err
		}
		u = nil
	}
}

// errUnheard says that a backend ended the connection without a byte of response.
var errUnheard = errors.New("connection ended without a response")

func (x *exchange) dial(ctx context.Context) (*upstream, error) {
	ctx, done := x.slow(ctx)
	defer done()
	u, err := x.p.dial(ctx, x.address)
	if err == nil {
		return u, nil
	}
	if cause := x.why(); cause != nil {
		return nil, cause
	}
	return nil, fmt.Errorf("dial backend: %w", err)
}

// request sends the head, and the body as far as it is here; a pump does the rest.
func (x *exchange) request(u *upstream) error {
	u.src.waiting, u.src.late, u.x = x.flush, u.late, x
	_ = u.conn.SetReadDeadline(time.Now().Add(patience))
	var err error
	if part := x.wholeBody(); part != nil {
		err = u.write(x.head, part)
	} else {
		err = u.write(x.head)
	}
	if err != nil {
		// What the backend said before it closed may still be read.
		return nil
	}
	if x.req.length != 0 && !x.sent {
		x.send(u)
	}
	return nil
}

// wholeBody gives the request's body if it has arrived with the head.
func (x *exchange) wholeBody() []byte {
	b, ok := x.body.(*body)
	if !ok || x.req.length <= 0 || int64(b.src.w-b.src.r) < x.req.length {
		return nil
	}
	part, err := b.next()
	if err != nil {
		return nil
	}
	x.sent = true
	return part
}

// late is called when a backend takes its time.
func (x *exchange) late(u *upstream) error {
	x.watch()
	limit := x.p.cfg.Timeouts.ResponseHeader
	if x.resp.status >= 200 || limit <= 0 || x.req.change != "" {
		return u.conn.SetReadDeadline(time.Time{})
	}
	if u.waited {
		return &backendError{504, "no response in time"}
	}
	u.waited = true
	return u.conn.SetReadDeadline(time.Now().Add(max(0, limit-patience)))
}

// response reads the head of the final response, and passes on what comes before.
func (x *exchange) response(u *upstream) error {
	x.resp.status, u.waited = 0, false
	for range maxInforms {
		text, err := u.src.head(nil)
		if err != nil {
			var late *backendError
			switch {
			case errors.As(err, &late):
				return late
			case errors.Is(err, errHeadTooLong):
				return &backendError{502, "head too long"}
			case x.resp.status == 0 && u.src.buffered() == 0:
				return fmt.Errorf("%w: %w", errUnheard, err)
			}
			return fmt.Errorf("read response: %w", err)
		}
		if err := parseResponse(text, &x.resp, x.req.method == "HEAD"); err != nil {
			return &backendError{502, err.Error()}
		}
		switch {
		case x.resp.status == 101 && x.req.change == "":
			return &backendError{502, "changed protocols unasked"}
		case x.resp.status >= 200 || x.resp.status == 101:
			return nil
		}
		if !x.start() {
			return x.why()
		}
		err = x.client.inform(&x.resp)
		x.unstart()
		if err != nil {
			x.abort(errClientGone)
			return errClientGone
		}
	}
	return &backendError{502, "too many 1xx responses"}
}

// unstart undoes start: a 1xx response leaves room for any other.
func (x *exchange) unstart() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.started = false
}

// relay passes the response on.
func (x *exchange) relay(u *upstream, cors bool) (keep bool, failed error) {
	b, r := x.backend, &x.resp
	if !x.start() {
		x.stopPump()
		x.detach()
		_ = u.conn.Close()
		return false, x.why()
	}
	fields := r.fields[:0]
	for _, f := range r.fields {
		if !dropped(f.name, r.status) {
			fields = append(fields, f)
		}
	}
	r.fields = appendOwn(fields, x.p.server, b.id, cors && !r.cors && r.status != 101)
	if r.status == 101 {
		x.stopPump()
		x.tunnel(u)
		return false, nil
	}
	complete := x.relayBody(u)
	sent := x.stopPump()
	live := x.detach()
	if complete && sent && live && !r.close && u.src.buffered() == 0 {
		b.putIdle(u, x.address, time.Now())
	} else {
		_ = u.conn.Close()
	}
	if !complete || !live {
		x.broken = true
		x.client.kill()
		return false, nil
	}
	return sent, nil
}

// relayBody passes head and body on. It reports whether that succeeded.
func (x *exchange) relayBody(u *upstream) bool {
	if err := x.client.begin(&x.resp); err != nil {
		return false
	}
	x.answer.open(&u.src, x.resp.length)
	for {
		p, err := x.answer.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = x.client.write(p)
		}
		if err != nil {
			return false
		}
	}
	return x.client.end(x.answer.trailers) == nil
}

// untrailed reports whether a field means something only in a head.
func untrailed(name string) bool {
	return matches(name, "host") || matches(name, "authorization") || matches(name, "cookie") || matches(name, "trailer")
}

// peerOf is the address that a connection comes from, without port.
func peerOf(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return "unknown"
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("").String()
}

func appendHex(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 16) }
