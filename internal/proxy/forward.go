package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// patience is how long a backend may take before the proxy begins to look
// whether the client is still there. Most requests are over before.
const patience = 200 * time.Millisecond

// maxInforms is how many 1xx responses may precede a response.
const maxInforms = 32

// backendError is a response that can't be passed on.
type backendError struct {
	status int
	why    string
}

func (e *backendError) Error() string { return e.why }

// forward sends the request and relays the response. failed is not nil if no
// byte of a response has reached the client.
func (x *exchange) forward(ctx context.Context, tk *ticket, t *target, cors bool) (keep bool, failed error) {
	b, r := x.backend, x.req
	x.way = wayTo(r, t, x.route, x.address)
	if x.way.key && x.p.session.reload.Load() && r.navigatesByGet() {
		x.way.uncoded, x.way.changes = true, true
	}
	x.head = appendRequest(x.head[:0], r, onward{
		path: t.path, peer: x.peer, scheme: x.scheme, backend: b.id, who: tk.who, way: &x.way,
	})
	repeatable := r.length == 0 && r.idempotent() && r.change == "" // to this same backend
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
	x.heard = true
	var err error
	if part := x.wholeBody(); part != nil {
		err = u.write(x.head, part)
		x.p.metrics.sent(len(part))
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
		if dropped(f.name, r.status) {
			continue
		}
		if x.way.answers(f.name) {
			if f.value = x.way.answered(f); f.value == "" {
				continue
			}
		}
		fields = append(fields, f)
	}
	tail := x.tail()
	r.fields = appendOwn(fields, x.p.server, b.id, cors && !r.cors && r.status != 101)
	if r.status == 101 {
		x.stopPump()
		x.tunnel(u)
		return false, nil
	}
	complete := x.relayBody(u, tail)
	sent := x.stopPump()
	live := x.detach()
	if complete && sent && live && !r.close && u.src.buffered() == 0 {
		b.putIdle(u, time.Now())
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

// relayBody passes head and body on, and tail after a body. It reports whether
// that succeeded.
func (x *exchange) relayBody(u *upstream, tail string) bool {
	if tail != "" && x.resp.declared >= 0 {
		x.resp.declared += int64(len(tail))
	}
	if err := x.begin(&x.resp); err != nil {
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
		x.p.metrics.received(len(p))
	}
	if tail != "" && x.client.write([]byte(tail)) != nil {
		return false
	}
	return x.client.end(x.answer.trailers) == nil
}
