package proxy

import (
	"context"
	"errors"
	"strings"
	"time"

	"plane"
	"plane/internal/token"
	"plane/internal/wire"
)

// visitor is who came to a key URL with the cookie of a backend, as a
// controller is asked about them. The zero one came with none.
type visitor struct {
	backend    plane.BackendID
	user       string
	named      bool // user is one
	revocation int64
}

func visitorOf(c *plane.Claims) visitor {
	if c == nil {
		return visitor{}
	}
	return visitor{backend: c.Backend, user: c.UserName(), named: c.User != nil, revocation: c.Revocation}
}

func (v visitor) message() *wire.Visitor {
	if v.backend == "" {
		return nil
	}
	m := &wire.Visitor{Backend: v.backend, Revocation: v.revocation}
	if v.named {
		m.User = &v.user
	}
	return m
}

// allows reports whether claims have not been revoked. Those of another
// backend's cookie carry a number that says nothing here, so that any
// revocation of their user holds for them until they come with a new token.
func allows(r *plane.Route, c *plane.Claims) bool {
	if c.KeyHash == "" || c.Backend == r.Backend {
		return r.Allows(*c)
	}
	return r.Revoked[c.UserName()] == 0
}

const (
	maxVouched = 4096            // visitors that a backend remembers as let in
	vouchLife  = 5 * time.Second // after which a controller is asked again: they may have been revoked elsewhere
)

// invitedLocked reports whether who comes by a key URL with claims, or none, may
// be let in as far as is known here.
func (b *backend) invitedLocked(c *plane.Claims) bool {
	if c != nil && (c.KeyHash != b.route.KeyHash || c.Cluster != b.route.Cluster) {
		return false
	}
	if b.route.Access != plane.AccessToken {
		return true
	}
	if c == nil {
		return false
	}
	if c.Backend == b.id {
		return true
	}
	return time.Now().Before(b.vouched[visitorOf(c)])
}

// vouch remembers that a controller let v in.
func (b *backend) vouch(v visitor) {
	if v.backend == "" || v.backend == b.id {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.vouched == nil || len(b.vouched) >= maxVouched {
		b.vouched = map[visitor]time.Time{}
	}
	b.vouched[v] = time.Now().Add(vouchLife)
}

// invite decides what becomes of an exchange whose visitor isn't known to b: it
// goes on as nobody's, or after a fresh answer of the controller, or is refused.
func (x *exchange) invite(b *backend, tk *ticket) (fresh bool, refused *answer) {
	route, _ := b.look()
	if c := tk.claims; c != nil && route != nil && (c.KeyHash != route.KeyHash || c.Cluster != route.Cluster) {
		tk.claims = nil // the cookie of another key
		tk.who = identity{}.appendFields(nil, x.p.log)
		return false, nil
	}
	if tk.claims == nil {
		return false, &unauthorized
	}
	if v := visitorOf(tk.claims); x.p.session.conn.Load() == nil && b.hasVouched(v) {
		b.vouch(v) // sessions outlive the absence of controllers
		return false, nil
	}
	return true, nil
}

// hasVouched reports whether v was let in before, however long ago.
func (b *backend) hasVouched(v visitor) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, known := b.vouched[v]
	return known
}

// unauthorized is the answer for who comes to a key URL without leave.
var unauthorized = answer{
	status: 401, kind: plane.Unauthorized, noStore: true,
	text: "This address opens only by a link. Open it from the application that it belongs to, or ask whoever runs that for a link.\n",
}

// keyTicket makes x's ticket for a key URL, with what its cookie says.
func (x *exchange) keyTicket(ctx context.Context, t target) (*ticket, *answer) {
	tk, r := &x.ticket, ref{kind: refKey, app: t.app, name: t.name}
	now := time.Now()
	if tk.ref == r && tk.cookie == x.req.cookie && (tk.claims == nil || !tk.claims.Expired(now)) &&
		(tk.cookie == "" || tk.ring == x.p.session.ring.Load()) {
		return tk, nil
	}
	r.app, r.name = strings.Clone(r.app), strings.Clone(r.name) // not the request they came in
	claims, ring, refused := x.openCookies(ctx, t, now)
	if refused != nil {
		return nil, refused
	}
	*tk = ticket{ref: r, cookie: strings.Clone(x.req.cookie), ring: ring, claims: claims}
	tk.who = identity{claims: claims}.appendFields(nil, x.p.log)
	return tk, nil
}

// openCookies gives the claims of the first cookie that is good for a key.
func (x *exchange) openCookies(ctx context.Context, t target, now time.Time) (*plane.Claims, *token.Keyring, *answer) {
	if x.req.cookie == "" {
		return nil, nil, nil
	}
	ring := x.p.session.ring.Load()
	tried := 0
	for pair := range cookiePairs(x.req.cookie) {
		name, value, _ := strings.Cut(pair, "=")
		if name != x.cookieOf(t.prefix) {
			continue
		}
		if tried++; tried > maxCookiesOpened {
			break
		}
		claims, with, err := x.open(ctx, value)
		ring = with
		switch {
		case errors.Is(err, token.ErrUnknownKey):
			return nil, nil, &later
		case err != nil || claims.KeyHash == "" || claims.Expired(now):
		case t.app != "" && claims.KeyHash != (plane.Key{Name: t.name, Namespace: t.app}).Hash():
		default:
			return &claims, ring, nil
		}
	}
	return nil, ring, nil
}

// open opens a token or cookie. A key that isn't known here may be on its way:
// that is asked, once in a while; token.ErrUnknownKey says that nobody answered.
func (x *exchange) open(ctx context.Context, sealed string) (plane.Claims, *token.Keyring, error) {
	s := x.p.session
	asked := time.Now()
	ring := s.ring.Load()
	claims, err := ring.Open(sealed)
	if !errors.Is(err, token.ErrUnknownKey) {
		return claims, ring, err
	}
	wait, done := x.slow(ctx)
	ok := s.freshRing(wait, asked.Add(-keysAgain), x.p.cfg.Timeouts.Answer)
	done()
	if !ok {
		return claims, ring, token.ErrUnknownKey
	}
	ring = s.ring.Load()
	if claims, err = ring.Open(sealed); errors.Is(err, token.ErrUnknownKey) {
		err = token.ErrTooOld // nobody has it
	}
	return claims, ring, err
}
