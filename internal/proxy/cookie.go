package proxy

import (
	"iter"
	"strings"
)

// The cookie that lets its holder in to a key: its name, and under https.
const (
	cookieName       = "plane"
	securedCookie    = "__Host-" + cookieName
	maxCookie        = 4000 // bytes of name and value: browsers drop those above 4096
	maxCookiesOpened = 4    // of one request
)

// cookieOf is the name of the cookie for a key URL with that prefix: the secured
// one's name demands https and Path=/. No other is taken there, because other
// hosts and unencrypted pages can set it.
func (x *exchange) cookieOf(prefix string) string {
	if x.scheme == "https" && prefix == "" {
		return securedCookie
	}
	return cookieName
}

// ownCookie reports whether a cookie of that name is Plane's.
func ownCookie(name string) bool { return name == cookieName || name == securedCookie }

// cookiePairs gives the parts of a Cookie field, as sent and without blanks.
func cookiePairs(field string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(field, ";") {
			if part = strings.Trim(part, " \t"); part != "" && !yield(part) {
				return
			}
		}
	}
}

// foreignCookies is a Cookie field without the cookies that are Plane's.
func foreignCookies(field string) string {
	var b strings.Builder
	for pair := range cookiePairs(field) {
		if name, _, _ := strings.Cut(pair, "="); ownCookie(strings.TrimRight(name, " \t")) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(pair)
	}
	return b.String()
}

// setCookie is a backend's Set-Cookie field as a browser may have it, "" = not
// at all. None reaches wider than the backend's own host; on the host that
// all tenants share none reaches other keys.
func (w *way) setCookie(value string) string {
	pair, attributes, _ := strings.Cut(value, ";")
	name, rest, _ := strings.Cut(pair, "=")
	if name = strings.Trim(name, " \t"); name == "" {
		name, _, _ = strings.Cut(strings.Trim(rest, " \t"), "=") // so browsers send it
	}
	scoped := w.key && w.prefix != ""
	if ownCookie(name) || scoped && !inCookie(w.prefix) {
		return "" // such a path can't be said in a cookie
	}
	var b strings.Builder
	b.WriteString(pair)
	pathed, same := false, true
	for a := range strings.SplitSeq(attributes, ";") {
		key, v, _ := strings.Cut(a, "=")
		key, v = strings.Trim(key, " \t"), strings.Trim(v, " \t")
		switch {
		case key == "" && v == "":
			continue
		case strings.EqualFold(key, "Domain") && w.wider(v):
			same = false
			continue
		case strings.EqualFold(key, "Path") && scoped:
			pathed = pathed || strings.HasPrefix(v, "/")
			if p := w.cookiePath(v); p != v {
				same, a = false, " Path="+p
			}
		}
		b.WriteByte(';')
		b.WriteString(a)
	}
	if scoped && !pathed {
		// Its default would be that of the page, which may be above the key's.
		same = false
		b.WriteString("; Path=" + w.prefix)
	}
	if same {
		return value
	}
	return b.String()
}

// inCookie reports whether a path can be said in a cookie.
func inCookie(path string) bool { return !strings.Contains(path, ";") && printable(path) }

// wider reports whether a cookie with that Domain would reach other hosts than
// the visited one.
func (w *way) wider(domain string) bool {
	host := hostName(w.visited)
	return domain != "" && (w.bare || !strings.EqualFold(strings.TrimPrefix(domain, "."), host))
}

// cookiePath keeps a cookie's Path below the key's.
func (w *way) cookiePath(path string) string {
	rest, under := strings.CutPrefix(path, w.prefix)
	switch {
	case under && (rest == "" || rest[0] == '/'):
		return path
	case path == "/" || !strings.HasPrefix(path, "/"):
		return w.prefix
	}
	return w.prefix + path
}

// hostName is a host without its port.
func hostName(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		return host[:i]
	}
	return host
}
