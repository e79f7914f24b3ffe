package proxy

import (
	"net"
	"strconv"
	"strings"

	"plane"
)

// way is how one request's view of a backend's addresses differs from the
// backend's own. The zero way changes nothing.
type way struct {
	visited string // the host that the client sent
	prefix  string // of the path, which was stripped
	local   string // what the backend is told as its host: localhost:PORT; "" = visited
	key     bool   // a key URL
	bare    bool   // on the bare host, which all tenants share
	uncoded bool   // the answer must come without content coding
	cookies bool   // the client sent cookies that are Plane's
	changes bool   // some field of the request is written otherwise than it came
}

// wayTo tells how t leads to the backend of a route at address.
func wayTo(r *request, t *target, route *plane.Route, address string) way {
	w := way{
		visited: r.host, prefix: t.prefix, bare: t.bare,
		key: t.meaning == meansKey, cookies: r.cookie != "",
	}
	if route.Host == plane.HostLocalhost {
		if inside, ok := plane.ParseGateAddress(address); ok {
			w.local = "localhost:" + strconv.Itoa(inside.Port)
		} else if _, port, err := net.SplitHostPort(address); err == nil {
			w.local = "localhost:" + port
		}
	}
	w.changes = w.local != "" || w.key || w.cookies
	return w
}

// changed reports whether a request's field of that name is the way's to write.
func (w *way) changed(name string) bool {
	switch len(name) {
	case 4:
		return w.local != "" && strings.EqualFold(name, "Host")
	case 6:
		return w.local != "" && strings.EqualFold(name, "Origin") || w.cookies && strings.EqualFold(name, "Cookie")
	case 7:
		return w.local != "" && strings.EqualFold(name, "Referer")
	case 15:
		return w.uncoded && strings.EqualFold(name, "Accept-Encoding")
	case 16:
		return (w.key || w.local != "") && matches(name, "x-forwarded-host")
	case 18:
		return w.key && matches(name, "x-forwarded-prefix")
	}
	return false
}

// appendChanged writes what becomes of a field that is the way's to write.
func (w *way) appendChanged(b []byte, f field) []byte {
	switch len(f.name) {
	case 4:
		return appendField(b, f.name, w.local)
	case 6:
		if f.name[0]|0x20 == 'c' {
			if rest := foreignCookies(f.value); rest != "" {
				b = appendField(b, f.name, rest)
			}
			return b
		}
		if sameHost(f.value, w.visited) {
			return appendField(b, f.name, "http://"+w.local)
		}
		return appendField(b, f.name, f.value)
	case 7:
		return appendField(b, f.name, w.referer(f.value))
	}
	return b
}

// appendOwn writes what the way adds to a request.
func (w *way) appendOwn(b []byte) []byte {
	if w.uncoded {
		b = append(b, "Accept-Encoding: identity\r\n"...)
	}
	if w.local == "" && (!w.key || w.prefix == "") {
		return b
	}
	b = appendField(b, "x-forwarded-host", w.visited)
	if w.key && w.prefix != "" && printable(w.prefix) {
		b = appendField(b, "x-forwarded-prefix", w.prefix)
	}
	return b
}

// referer is what the backend is told as the page that led here: its own view
// of one of its pages, any other as it is.
func (w *way) referer(value string) string {
	scheme, authority, path, ok := splitURL(value)
	if !ok || scheme == "" || !sameHost(scheme+authority, w.visited) {
		return value
	}
	if rest, under := strings.CutPrefix(path, w.prefix); under && (rest == "" || rest[0] == '/') {
		path = rest
	}
	return "http://" + w.local + orRoot(path)
}

// location is a backend's redirection as the client can follow it: what leads
// to the backend's own origin leads to where the client sees it.
func (w *way) location(value string) string {
	_, authority, path, ok := splitURL(value)
	switch {
	case !ok && value != "" && value[0] == '/':
		if !w.key || w.foreignPath(value) {
			return value
		}
		return w.prefix + value
	case !ok:
		return value
	case w.local != "" && isLocal(authority, w.local):
	case w.key && w.prefix != "" && normalHost(authority) == normalHost(w.visited) && !w.foreignPath(path):
	default:
		return value
	}
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	if !w.foreignPath(path) {
		path = w.prefix + path
	}
	if strings.HasPrefix(path, "//") { // would name a host
		return "//" + w.visited + path
	}
	return path
}

// foreignPath reports whether a path on the visited host isn't meant below the
// prefix: it is below it already, or it is Plane's or another key's.
func (w *way) foreignPath(path string) bool {
	if w.prefix == "" {
		return true
	}
	if rest, under := strings.CutPrefix(path, w.prefix); under && (rest == "" || strings.IndexByte("/?#", rest[0]) >= 0) {
		return true
	}
	_, mine := own(path)
	return mine || strings.HasPrefix(path, "/~")
}

// isLocal reports whether authority names the backend's own address.
func isLocal(authority, local string) bool {
	if strings.EqualFold(authority, local) {
		return true
	}
	port, ok := strings.CutPrefix(authority, "127.0.0.1:")
	return ok && strings.HasSuffix(local, ":"+port)
}

// splitURL splits a URL that names a host: scheme with "://" or "", authority
// and the rest.
func splitURL(s string) (scheme, authority, rest string, ok bool) {
	switch {
	case strings.HasPrefix(s, "//"):
		s = s[2:]
	case hasScheme(s, "http://"), hasScheme(s, "https://"):
		i := strings.Index(s, "://") + 3
		scheme, s = strings.ToLower(s[:i]), s[i:]
	default:
		return "", "", "", false
	}
	i := strings.IndexAny(s, "/?#")
	if i < 0 {
		i = len(s)
	}
	return scheme, s[:i], s[i:], true
}

func hasScheme(s, scheme string) bool {
	return len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme)
}

// answers reports whether a field of a response is the way's to write.
func (w *way) answers(name string) bool {
	switch len(name) {
	case 8:
		return (w.local != "" || w.key && w.prefix != "") && strings.EqualFold(name, "Location")
	case 10:
		return strings.EqualFold(name, "Set-Cookie")
	case 22:
		return w.bare && strings.EqualFold(name, "Service-Worker-Allowed")
	}
	return false
}

// answered is the value of such a field for the client, "" = it gets none.
func (w *way) answered(f field) string {
	switch len(f.name) {
	case 8:
		return w.location(f.value)
	case 10:
		return w.setCookie(f.value)
	}
	return "" // a worker of one tenant would see what all others on this host send
}
