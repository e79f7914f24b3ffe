package proxy

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"plane"
	"plane/internal/token"
)

// enter takes the token of a link to a key URL and gives a cookie for it, so
// that the token doesn't stay in the address. It starts nothing.
func (x *exchange) enter(ctx context.Context, t target, path string) answer {
	tok, rest := firstSegment(path)
	if !inCookie(t.prefix) { // the same address, as a cookie's Path can have it
		return answer{
			status: 303, location: strings.TrimSuffix(pathForm(t.app, t.name), "/") + ownPath + "/enter" + path + x.req.query, noStore: true,
			fields: []field{{"referrer-policy", "no-referrer"}},
		}
	}
	claims, ring, err := x.open(ctx, tok)
	now := time.Now()
	switch {
	case errors.Is(err, token.ErrUnknownKey):
		return later
	case err != nil, claims.KeyHash != "", claims.Expired(now):
		x.p.log.Debug("refused a link to a key", "token", token.Redact(tok), "error", err)
		return linkEnded
	case claims.Port != "":
		return answer{status: 404, noStore: true, text: "This link’s token is for a further port, which a key’s address doesn’t lead to. Use its own URL.\n"}
	}
	route, refused := x.routeOf(ctx, claims.Backend)
	if refused != nil {
		return *refused
	}
	app := t.app
	if app == "" {
		app = route.App // the default app
	}
	if route.KeyHash != (plane.Key{Name: t.name, Namespace: app}).Hash() || claims.Cluster != route.Cluster {
		return answer{status: 403, noStore: true, text: "This link belongs to another key. Open it at the address that it was made for.\n"}
	}
	if !route.Allows(claims) {
		return linkEnded
	}
	claims.KeyHash = route.KeyHash
	claims.Issued = now.Unix()
	sealed, err := ring.Seal(claims, now)
	if err != nil || len(sealed) > maxCookie {
		return answer{status: 400, noStore: true, text: "The user and auth of this link are too large for a cookie (" + strconv.Itoa(len(sealed)) + " of " + strconv.Itoa(maxCookie) + " bytes). Give less at connect, or use the token’s own URL.\n"}
	}
	return answer{
		status: 303, location: t.prefix + landing(rest) + x.req.query, noStore: true,
		fields: []field{{"set-cookie", x.cookieFor(sealed, t.prefix, claims, now)}, {"referrer-policy", "no-referrer"}},
	}
}

var linkEnded = answer{
	status: 410, noStore: true,
	text: "This link has ended. Go back to the application and open it again; a new link is made for you.\n",
}

// landing is where a link leads on the key's own host, never to another one.
func landing(rest string) string {
	return "/" + strings.TrimLeft(rest, `/\`)
}

// cookieFor is the Set-Cookie for a sealed visit.
func (x *exchange) cookieFor(sealed, prefix string, c plane.Claims, now time.Time) string {
	more := ""
	if x.scheme == "https" {
		more = "; Secure"
	}
	if c.Expires != 0 {
		more += "; Max-Age=" + strconv.FormatInt(c.Expires-now.Unix(), 10)
	}
	return x.cookieOf(prefix) + "=" + sealed + "; Path=" + prefix + "/; HttpOnly; SameSite=Lax" + more
}

// routeOf gives the route of a backend that lives.
func (x *exchange) routeOf(ctx context.Context, id plane.BackendID) (*plane.Route, *answer) {
	r := ref{kind: refBackend, name: string(id)}
	b, none := x.p.table.find(r, time.Now())
	if b == nil && !none || b != nil && !b.known() {
		wait, done := x.slow(ctx)
		got, werr, err := x.p.ask(wait, question{ref: r}, x.p.cfg.Timeouts.Answer)
		done()
		if err != nil || werr != nil {
			return nil, &later
		}
		b = got
	}
	if b == nil || b.ending() {
		return nil, &linkEnded
	}
	route, _ := b.look()
	if route == nil {
		return nil, &later
	}
	return route, nil
}
