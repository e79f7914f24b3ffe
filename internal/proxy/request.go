package proxy

import (
	"errors"
	"net/http"
	"strings"
)

// request is the head of a client's request, checked.
type request struct {
	method string
	path   string // as sent
	query  string // as sent, with its '?', or ""
	host   string // as sent
	minor  int    // of HTTP/1; 2 for HTTP/2
	fields []field
	length int64  // of the body, or chunked
	expect bool   // the client waits for 100 Continue
	close  bool   // the client wants no further exchange on this connection
	change string // the protocol that the client wants to change to, or ""

	origin    string
	hasOrigin bool
	fetchSite string
	fetchMode string
	fetchDest string
	accept    string
	cookie    string // the fields of it that have Plane's own in them, as it seems; or ""
	keepAlive bool   // an HTTP/1.0 client asked for it
}

// parseRequest reads a request's head. It gives the status to refuse it with, or 0.
func parseRequest(text string, r *request) int {
	*r = request{fields: r.fields[:0]}
	line, text, strict, ok := nextLine(text)
	method, line, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(line, " ")
	if !ok || !strict || !ok1 || !ok2 || !isToken(method) || !isTarget(target) {
		return 400
	}
	switch version {
	case "HTTP/1.1":
		r.minor = 1
	case "HTTP/1.0":
	default:
		if strings.HasPrefix(version, "HTTP/") {
			return 505
		}
		return 400
	}
	r.method = method
	fields, err := parseFields(r.fields, text, true)
	r.fields = fields
	if err != nil {
		if errors.Is(err, errHeadTooLong) {
			return 431
		}
		return 400
	}
	if status := r.readFields(); status != 0 {
		return status
	}
	if authority, ok := r.takeTarget(target); !ok || authority != "" && !strings.EqualFold(authority, r.host) {
		return 400
	}
	return 0
}

// takeTarget splits the target into path and query. An absolute one also names
// its authority.
func (r *request) takeTarget(target string) (authority string, ok bool) {
	if target[0] != '/' {
		scheme, rest, absolute := strings.Cut(target, "://")
		if !absolute || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
			return "", false
		}
		i := strings.IndexAny(rest, "/?")
		if i < 0 {
			i = len(rest)
		}
		authority, target = rest[:i], rest[i:]
		if authority == "" {
			return "", false
		}
		if target == "" || target[0] == '?' {
			target = "/" + target
		}
	}
	r.path = target
	if i := strings.IndexByte(target, '?'); i >= 0 {
		r.path, r.query = target[:i], target[i:]
	}
	return authority, true
}

// readFields takes from the fields what a request's handling depends on.
func (r *request) readFields() int {
	var hosts, lengths, codings int
	var upgrade, connection bool
	for _, f := range r.fields {
		switch len(f.name) {
		case 4:
			if strings.EqualFold(f.name, "Host") {
				hosts++
				r.host = f.value
			}
		case 6:
			if strings.EqualFold(f.name, "Origin") {
				r.origin, r.hasOrigin = f.value, true
			} else if strings.EqualFold(f.name, "Expect") {
				if !strings.EqualFold(f.value, "100-continue") {
					return 417
				}
				r.expect = true
			} else if strings.EqualFold(f.name, "Accept") {
				if r.accept != "" {
					r.accept += ", "
				}
				r.accept += f.value
			} else if strings.EqualFold(f.name, "Cookie") && strings.Contains(f.value, cookieName+"=") {
				if r.cookie != "" { // HTTP/2 allows several, which may have come through another proxy
					r.cookie += "; "
				}
				r.cookie += f.value
			}
		case 7:
			if strings.EqualFold(f.name, "Upgrade") {
				r.change, upgrade = f.value, true
			}
		case 10:
			if strings.EqualFold(f.name, "Connection") {
				connection = connection || hasToken(f.value, "upgrade")
				r.close = r.close || hasToken(f.value, "close")
				if r.minor == 0 && hasToken(f.value, "keep-alive") {
					r.keepAlive = true
				}
			}
		case 14:
			r.readFetch(f)
			if strings.EqualFold(f.name, "Content-Length") {
				lengths++
				n, ok := parseLength(f.value)
				if !ok {
					return 400
				}
				r.length = n
			}
		case 17:
			if strings.EqualFold(f.name, "Transfer-Encoding") {
				codings++
				if !strings.EqualFold(f.value, "chunked") {
					return 501
				}
				r.length = chunked
			}
		}
	}
	// One length, said once: whoever reads it otherwise than the backend does
	// lets a second request through inside the first.
	if lengths > 1 || codings > 1 || lengths+codings > 1 || codings > 0 && r.minor == 0 {
		return 400
	}
	if hosts != 1 || !validHost(r.host) {
		return 400
	}
	if r.minor == 0 {
		r.close = r.close || !r.keepAlive
		r.expect = false
	}
	if !upgrade || !connection || r.minor == 0 || isHTTP2(r.change) {
		r.change = ""
	}
	if r.change != "" && r.length != 0 {
		return 400
	}
	switch r.method {
	case http.MethodConnect, http.MethodTrace:
		return 405
	}
	return 0
}

func (r *request) readFetch(f field) {
	switch {
	case strings.EqualFold(f.name, "Sec-Fetch-Site"):
		r.fetchSite = f.value
	case strings.EqualFold(f.name, "Sec-Fetch-Mode"):
		r.fetchMode = f.value
	case strings.EqualFold(f.name, "Sec-Fetch-Dest"):
		r.fetchDest = f.value
	}
}

// wantsPage reports whether the client shows what it gets to a person: a GET
// whose Accept names HTML.
func (r *request) wantsPage() bool {
	return r.method == http.MethodGet && r.change == "" && acceptsHTML(r.accept)
}

func acceptsHTML(accept string) bool {
	if accept == "" {
		return false
	}
	for item := range strings.SplitSeq(accept, ",") {
		kind, params, _ := strings.Cut(item, ";")
		if !strings.EqualFold(strings.Trim(kind, " \t"), "text/html") {
			continue
		}
		q, weighed := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=0")
		return !weighed || strings.Trim(q, ".0") != ""
	}
	return false
}

// navigates reports whether a browser's window, and not a script, waits for the
// answer: it says so, or it asks for HTML before anything else.
func (r *request) navigates() bool {
	if r.fetchDest != "" {
		return strings.EqualFold(r.fetchDest, "document")
	}
	return len(r.accept) >= 9 && strings.EqualFold(r.accept[:9], "text/html")
}

// navigatesByGet reports whether the request is for a document of a window.
func (r *request) navigatesByGet() bool {
	return r.method == http.MethodGet && strings.EqualFold(r.fetchDest, "document")
}

// isHTTP2 reports whether an Upgrade field asks for HTTP/2, which would then be
// spoken past this proxy.
func isHTTP2(upgrade string) bool {
	for p := range strings.SplitSeq(upgrade, ",") {
		p = strings.TrimSpace(p)
		if len(p) >= 2 && strings.EqualFold(p[:2], "h2") || strings.HasPrefix(strings.ToUpper(p), "HTTP/") {
			return true
		}
	}
	return false
}

// idempotent reports whether a request may be sent twice.
func (r *request) idempotent() bool {
	switch r.method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
