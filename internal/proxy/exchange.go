package proxy

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"

	"plane"
	"plane/internal/token"
)

// exchange is one request on its way. One value serves a connection's requests
// one after another.
type exchange struct {
	p      *Proxy
	client client
	flush  func() // the client's
	req    *request
	body   bodyReader
	kind   kind
	host   string // normal form of req.host
	way    way
	peer   string
	scheme string
	ticket ticket
	head   []byte   // of the request for the backend
	resp   response // the backend's
	answer body
	pump   *pump
	sent   bool // something of the body was taken
	heard  bool // something was sent to a backend
	handed bool // to a tunnel, which releases it
	broken bool // the response has begun and won't be completed

	// Of the backend, guarded by its lock while it counts the exchange in.
	backend    *backend
	claims     *plane.Claims
	address    string
	route      *plane.Route // as it was when the exchange was counted in
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
	x.upgraded, x.sent, x.heard, x.broken, x.claims = false, false, false, false, nil
	x.host = normalHost(x.req.host)
}

// abort ends the exchange as soon as possible, for a reason. Any goroutine may
// call it, and more than once. When it returns, no byte more goes to the backend.
func (x *exchange) abort(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cause == nil {
		x.cause = cause
		x.p.metrics.cut(cause)
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

// serve does the exchange. It reports whether the client's connection can carry
// another one.
func (x *exchange) serve(ctx context.Context) bool {
	r := x.req
	t := decide(x.p.names, x.p.session.dev.Load(), x.host, r.path, x.opens)
	x.kind = kindOf(t.meaning)
	if x.tooEarly(t) {
		return x.say(later)
	}
	switch t.meaning {
	case meansNothing:
		return x.say(answer{status: t.status})
	case meansPing:
		return x.say(answer{status: 204, noStore: true})
	case meansOwn:
		return x.own(ctx, t)
	case meansReady:
		if !x.p.Ready() {
			return x.say(answer{status: 503})
		}
		return x.say(answer{status: 200})
	case meansRoot:
		if x.p.cfg.RootRedirect != "" {
			return x.say(answer{status: 301, location: x.p.cfg.RootRedirect})
		}
		if t.bare && x.p.session.dev.Load() && r.wantsPage() {
			return x.startPage()
		}
		a := answer{status: 400}
		if t.bare && x.p.session.dev.Load() {
			a.text = x.rootText()
		}
		return x.say(a)
	case meansKey:
		if crossSite(r) {
			return x.say(answer{status: 403})
		}
		if t.prefix != "" && t.prefix == r.path && r.wantsPage() {
			// Or the page's relative links would miss the key.
			return x.say(answer{status: 307, location: r.path + "/" + r.query, noStore: true})
		}
	}
	return x.carry(ctx, t)
}

// tooEarly reports whether the request may be for a key, which only a first
// welcome tells: until then nothing is refused that a page would take for final.
func (x *exchange) tooEarly(t target) bool {
	if x.p.session.welcomed.Load() || t.meaning != meansNothing && t.meaning != meansToken {
		return false
	}
	if _, w := x.p.names.place(x.host); w != below {
		return false
	}
	_, err := x.p.session.ring.Load().Open(t.token)
	return !token.IsStatic(t.token) && err != nil && !errors.Is(err, token.ErrUnknownKey)
}

func (x *exchange) opens(segment string) bool {
	_, err := x.p.session.ring.Load().Open(segment)
	return err == nil
}

// carry takes the request to a backend and the response back. On a key URL whose
// backend ends before anything was sent to it, the next one is tried.
func (x *exchange) carry(ctx context.Context, t target) bool {
	cors, page := t.meaning == meansToken, t.meaning == meansKey && x.req.wantsPage()
	for tries := 0; ; tries++ {
		tk, refused := x.ticketFor(ctx, t)
		if refused == nil {
			refused = x.admit(ctx, tk)
		}
		if refused != nil {
			if refused == &unauthorized {
				x.refuse(causeVisitor, refused)
			}
			a := *refused
			a.cors, a.page = cors, page
			return x.say(a)
		}
		b := x.backend
		keep, failed := x.forward(ctx, tk, &t, cors)
		if x.handed {
			return false
		}
		if failed == nil {
			b.release(x)
			return keep
		}
		a := x.explain(ctx, b, failed)
		b.release(x)
		if errors.Is(x.why(), errRevoked) && t.meaning == meansKey {
			a = unauthorized
		}
		if a.status == 410 && t.meaning == meansKey {
			if (!x.heard || x.harmless(b)) && tries < 2 && x.forget() {
				x.heard = false
				continue
			}
			a = x.endedUnder(b)
		}
		a.cors, a.page, a.backend = cors, page, b.id
		return x.say(a)
	}
}

// harmless reports whether a request that a backend may have heard can go to the
// next one: it means the same when it is done twice, and somebody asked for the
// backend's end, so that the request didn't bring it about.
func (x *exchange) harmless(b *backend) bool {
	r := x.req
	if x.sent || r.length != 0 || !r.idempotent() || r.change != "" {
		return false
	}
	status, _, end := b.state()
	if end == nil {
		return status == plane.Terminating // asked, and not ended yet
	}
	return end.Asked
}

// endedUnder is the answer on a key URL for a request whose backend ended before
// it answered. If that may have heard of it, it isn't sent to the next one: what
// ended this backend would end that one as well.
func (x *exchange) endedUnder(b *backend) answer {
	a := answer{status: 503, retryAfter: 1, noStore: true}
	if !x.heard {
		g := progressOf(nil)
		a.show = &g
		return a
	}
	a.cut = true
	a.text = "The program ended while it answered this request, so the request wasn’t sent again."
	if _, _, end := b.state(); end != nil {
		a.text, a.output = strings.TrimSpace(a.text+" "+end.Message), end.Output
	}
	a.text += "\n"
	return a
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
		x.p.log.Warn("a backend's response was refused", "backend", b.id, "generation", x.route.Generation, "error", err)
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
	x.p.metrics.failed()
	x.p.log.Warn("can't reach a backend", "backend", b.id, "generation", x.route.Generation, "error", err)
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
	if a.status == 401 {
		a.text = x.needsLink()
	}
	if a.status >= 400 && a.html == nil && (a.page || x.req.navigates()) {
		a.html = x.pageOf(a)
	}
	r, text := a.response(x.p.server)
	r.declared = r.length
	if err := x.begin(r); err != nil {
		return false
	}
	if text != "" && x.req.method != "HEAD" {
		if err := x.client.write([]byte(text)); err != nil {
			return false
		}
	}
	return x.client.end(nil) == nil
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
