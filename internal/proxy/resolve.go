package proxy

import (
	"context"
	"errors"
	"time"

	"plane"
	"plane/internal/token"
	"plane/internal/wait"
	"plane/internal/wire"
)

// ticket is a token, or a key URL, as one connection last used it: what it says
// and where it led. Connections mostly use one.
type ticket struct {
	token  string
	cookie string         // the field that Plane's cookie is in, if any
	ring   *token.Keyring // that opened token or cookie
	ref    ref
	claims *plane.Claims // nil for static tokens, and on key URLs without a cookie
	who    []byte        // fields that say who comes

	backend *backend // where it led, or nil
	host    string   // that was found to reach backend
}

// gone is the answer for what has ended or never was.
var gone = answer{status: 410}

// later is the answer for what can't be told now.
var later = answer{status: 503, retryAfter: 1, noStore: true}

// ticketFor gives the ticket of a target. An answer refuses it.
func (x *exchange) ticketFor(ctx context.Context, t target) (*ticket, *answer) {
	tk := &x.ticket
	if t.meaning == meansKey || t.meaning == meansOwn {
		return x.keyTicket(ctx, t)
	}
	if token.IsStatic(t.token) {
		if tk.token != t.token {
			if len(t.token) != staticLength {
				return nil, x.refuse(causeUnreadable, &gone)
			}
			*tk = ticket{
				token: t.token, ref: ref{kind: refStatic, name: token.StaticHash(t.token)},
				who: identity{}.appendFields(nil, x.p.log),
			}
		}
		return tk, nil
	}
	if tk.token != t.token || tk.ring != x.p.session.ring.Load() {
		if a := x.openToken(ctx, t.token); a != nil {
			return nil, a
		}
	}
	if tk.claims.Expired(time.Now()) {
		return nil, x.refuse(causeExpired, &gone)
	}
	return tk, nil
}

const staticLength = 2 + 43

// openToken makes x's ticket from a token.
func (x *exchange) openToken(ctx context.Context, tok string) *answer {
	claims, ring, err := x.open(ctx, tok)
	if errors.Is(err, token.ErrUnknownKey) {
		return x.refuse(causeNewKey, &later)
	}
	if err == nil && claims.KeyHash != "" {
		err = errCookie
	}
	if err != nil {
		x.p.log.Debug("refused a token", "token", token.Redact(tok), "error", err)
		return x.refuse(causeUnreadable, &gone)
	}
	id := identity{claims: &claims, secret: ring.Secret(tok)}
	x.ticket = ticket{
		token: tok, ring: ring, claims: &claims,
		ref: ref{kind: refBackend, name: string(claims.Backend)},
		who: id.appendFields(nil, x.p.log),
	}
	return nil
}

var errCookie = errors.New("a cookie is no token")

// admit finds the ticket's backend, waits until it can be used and counts the
// exchange in. An answer refuses it.
func (x *exchange) admit(ctx context.Context, tk *ticket) *answer {
	if b := tk.backend; b != nil && tk.host == x.req.host && b.admit(x, tk.claims) == admitted {
		return nil
	}
	tk.backend, tk.host = nil, ""
	if b, _ := x.p.table.find(tk.ref, time.Now()); b != nil && x.checkHost(b, tk) == nil && b.admit(x, tk.claims) == admitted {
		tk.backend, tk.host = b, x.req.host
		return nil
	}
	defer x.p.metrics.waited(x.kind, time.Now())
	limit := x.p.cfg.Timeouts.Ready
	if tk.ref.kind == refKey {
		if x.req.wantsPage() {
			return x.admitOrShow(ctx, tk)
		}
		limit = x.p.cfg.Timeouts.KeyReady
	}
	return x.admitWithin(ctx, tk, limit)
}

// admitWithin is admit with a limit to its wait.
func (x *exchange) admitWithin(ctx context.Context, tk *ticket, limit time.Duration) *answer {
	ctx, done := x.slow(ctx)
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	a := x.admitInTime(ctx, tk)
	if a != nil && a.status == 0 { // given up: why?
		switch cause := x.why(); {
		case cause != nil:
			return x.refusal(cause)
		case tk.ref.kind == refKey:
			return x.stillStarting(tk)
		default:
			return &later
		}
	}
	return a
}

// stillStarting is the answer for who waited for a key's backend in vain.
func (x *exchange) stillStarting(tk *ticket) *answer {
	a := later
	b, _ := x.p.table.find(tk.ref, time.Now())
	if b == nil {
		return &a
	}
	g := progressOf(b)
	if g.Status == plane.Waiting {
		a.text = "The program runs, but nothing of it answers at " + orText(g.Address, "127.0.0.1:$PORT") +
			" yet; a program must listen on 127.0.0.1:$PORT. It goes on starting; try again.\n"
	}
	return &a
}

// admitInTime is admit while ctx lasts; then it answers nothing, status 0.
func (x *exchange) admitInTime(ctx context.Context, tk *ticket) *answer {
	fresh := false // the answer must not come from memory
	for {
		b, a := x.locate(ctx, tk, fresh)
		if a != nil {
			return a
		}
		fresh = false
		changed, stop := b.wait()
		if a := x.checkHost(b, tk); a != nil {
			stop()
			return x.refuse(causeHost, a)
		}
		v := b.admit(x, tk.claims)
		if v == holdOn {
			select {
			case <-changed:
			case <-ctx.Done():
				stop()
				return &answer{}
			}
		}
		stop()
		if v == holdOn && tk.ref.kind == refKey {
			if _, _, end := b.state(); startFailed(end) != nil {
				return startFailed(end) // the next would end as well: somebody should see why
			}
		}
		switch v {
		case admitted:
			tk.backend, tk.host = b, x.req.host
			return nil
		case noPort:
			return &answer{status: 404, text: "The backend has no port " + tk.claims.Port + ".\n"}
		case uninvited:
			if fresh, a = x.invite(b, tk); a != nil {
				return a
			}
		case isGone:
			if tk.ref.kind != refKey {
				return x.refuse(whyGone(b, tk), &gone)
			}
			if route, _ := b.look(); tk.claims != nil && route != nil && !allows(route, tk.claims) {
				return &unauthorized
			}
			// Its successor is the controller's to name, once the old one is gone.
			fresh = true
			if !wait.For(ctx, 10*time.Millisecond) {
				return &answer{}
			}
		}
	}
}

// locate gives the backend of a ticket, whatever its state.
func (x *exchange) locate(ctx context.Context, tk *ticket, fresh bool) (*backend, *answer) {
	if !fresh {
		b, none := x.p.table.find(tk.ref, time.Now())
		if none {
			return nil, x.refuse(causeUnknown, &gone)
		}
		if b != nil && (b.known() || tk.ref.kind == refKey) {
			return b, nil
		}
	}
	limit := x.p.cfg.Timeouts.Answer
	if tk.ref.kind == refKey {
		limit = x.p.cfg.Timeouts.KeyReady
	}
	got, err := x.p.answerTo(ctx, tk.question(), limit)
	switch {
	case errors.Is(err, errNoAnswer) && ctx.Err() == nil:
		return nil, &later
	case err != nil:
		return nil, &answer{}
	case got.err != nil:
		return nil, x.fromController(got.err, tk)
	case got.backend == nil && startFailed(got.end) != nil:
		return nil, startFailed(got.end)
	case got.backend == nil && tk.ref.kind == refKey:
		return nil, &later
	case got.backend == nil:
		return nil, x.refuse(causeUnknown, &gone)
	}
	return got.backend, nil
}

// question is what a controller is asked for a ticket.
func (tk *ticket) question() question {
	if tk.ref.kind != refKey {
		return question{ref: tk.ref}
	}
	return question{ref: tk.ref, visitor: visitorOf(tk.claims)}
}

// checkHost refuses a token on a host that isn't its backend's. It is a key
// host's nature to be its own.
func (x *exchange) checkHost(b *backend, tk *ticket) *answer {
	route, _ := b.look()
	if route == nil || tk.ref.kind == refKey {
		return nil
	}
	if tk.claims != nil && tk.claims.Cluster != route.Cluster {
		return &gone
	}
	if !reaches(route, x.host, x.p.names) {
		return &answer{status: 403}
	}
	return nil
}

// fromController is the answer for what a controller refuses.
func (x *exchange) fromController(e *wire.Error, tk *ticket) *answer {
	if tk.ref.kind != refKey {
		return &later
	}
	if e.Kind == plane.Unauthorized {
		return &unauthorized
	}
	a := x.p.keyRefusal(e)
	return &a
}

// keyRefusal is the answer on a key URL for what a controller refuses.
func (p *Proxy) keyRefusal(e *wire.Error) answer {
	a := answer{status: e.Status, text: e.Message + "\n", kind: e.Kind, noStore: true, retryAfter: int((e.RetryMS + 999) / 1000)}
	if a.status < 400 || a.status > 599 {
		a.status = statusOf(e.Kind)
	}
	if a.status == 503 && a.retryAfter == 0 {
		a.retryAfter = 1
	}
	if p.session.dev.Load() {
		a.output = e.Output
	}
	return a
}

// confirm asks whether a backend that can't be reached has ended, and gives the
// news a moment to arrive: a machine sees an end within milliseconds.
func (x *exchange) confirm(ctx context.Context, b *backend) bool {
	if b.ending() || x.p.session.conn.Load() == nil {
		return b.ending()
	}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	for !b.ending() {
		changed, stop := b.wait()
		if got, werr, err := x.p.ask(ctx, question{ref: ref{kind: refBackend, name: string(b.id)}}, time.Second); err == nil && werr == nil && got == nil {
			stop()
			return true
		}
		select {
		case <-changed:
			stop()
		case <-time.After(100 * time.Millisecond):
			stop()
		case <-ctx.Done():
			stop()
			return b.ending()
		}
	}
	return true
}
