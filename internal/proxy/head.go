package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// field is a header or trailer field, name and value as they were sent.
type field struct{ name, value string }

// maxFields is how many fields a head may have.
const maxFields = 256

// Framings of a body beside its length.
const (
	chunked    int64 = -1
	untilClose int64 = -2
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
	keepAlive bool // an HTTP/1.0 client asked for it
}

// response is the head of a backend's response, checked.
type response struct {
	status   int
	reason   string
	minor    int
	fields   []field
	length   int64 // of the body, chunked or untilClose
	declared int64 // what length would be if this weren't the answer to a HEAD or a 304
	close    bool  // the backend ends the connection after it
	cors     bool  // it has CORS fields of its own
	change   string
}

var errMalformed = errors.New("malformed message")

// nextLine cuts one line off text. ok is false for a bare CR and for NUL.
func nextLine(text string) (line, rest string, strict, ok bool) {
	i := strings.IndexByte(text, '\n')
	if i < 0 {
		return "", "", false, false
	}
	line, rest = text[:i], text[i+1:]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line, strict = line[:n-1], true
	}
	return line, rest, strict, strings.IndexByte(line, '\r') < 0 && strings.IndexByte(line, 0) < 0
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

// parseResponse reads a response's head; head tells whether it answers a HEAD.
func parseResponse(text string, r *response, head bool) error {
	*r = response{fields: r.fields[:0]}
	line, text, _, ok := nextLine(text)
	version, line, ok1 := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(line, " ")
	if !ok || !ok1 || len(code) != 3 || len(version) != 8 || version[:7] != "HTTP/1." {
		return errMalformed
	}
	status, err := strconv.Atoi(code)
	if err != nil || status < 100 || status > 999 || version[7] < '0' || version[7] > '1' {
		return errMalformed
	}
	r.status, r.reason, r.minor = status, reason, int(version[7]-'0')
	if r.fields, err = parseFields(r.fields, text, false); err != nil {
		return err
	}
	return r.readFields(head)
}

func (r *response) readFields(head bool) error {
	r.length = untilClose
	r.close = r.minor == 0
	lengths, coded := 0, false
	for _, f := range r.fields {
		switch {
		case len(f.name) == 10 && strings.EqualFold(f.name, "Connection"):
			r.close = r.close || hasToken(f.value, "close")
		case len(f.name) == 7 && strings.EqualFold(f.name, "Upgrade"):
			r.change = f.value
		case len(f.name) == 14 && strings.EqualFold(f.name, "Content-Length"):
			n, ok := parseLength(f.value)
			if !ok || lengths > 0 && n != r.length {
				return errMalformed
			}
			r.length = n
			lengths++
		case len(f.name) == 17 && strings.EqualFold(f.name, "Transfer-Encoding"):
			if coded || !strings.EqualFold(f.value, "chunked") {
				return errMalformed
			}
			coded = true
		case len(f.name) > 25 && isCORS(f.name):
			r.cors = true
		}
	}
	if coded {
		r.length = chunked
	}
	r.declared = r.length
	if head || r.status < 200 || r.status == 204 || r.status == 304 {
		r.length = 0
	}
	r.close = r.close || r.length == untilClose
	return nil
}

func isCORS(name string) bool {
	return strings.EqualFold(name, "Access-Control-Allow-Origin") ||
		strings.EqualFold(name, "Access-Control-Allow-Methods") ||
		strings.EqualFold(name, "Access-Control-Allow-Headers")
}

// parseFields reads field lines up to the blank line. strict refuses what only
// lenient readers accept.
func parseFields(fields []field, text string, strict bool) ([]field, error) {
	for {
		line, rest, crlf, ok := nextLine(text)
		if !ok || strict && !crlf {
			return fields, errMalformed
		}
		if line == "" {
			if rest != "" {
				return fields, errMalformed
			}
			return fields, nil
		}
		text = rest
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return fields, errMalformed
		}
		value = strings.Trim(value, " \t")
		if strict && !isValue(value) {
			return fields, errMalformed
		}
		if len(fields) == maxFields {
			return fields, errHeadTooLong
		}
		fields = append(fields, field{name, value})
	}
}

// parseLength reads digits only, at most 18 of them.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// hasToken reports whether a comma-separated list has a token, in any case.
func hasToken(list, tok string) bool {
	for len(list) > 0 {
		item := list
		if i := strings.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			list = ""
		}
		if strings.EqualFold(strings.Trim(item, " \t"), tok) {
			return true
		}
	}
	return false
}

var tokenChars = func() (t [256]bool) {
	for c := range t {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c < 128 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return t
}()

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChars[s[i]] {
			return false
		}
	}
	return s != ""
}

func isTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '#' {
			return false
		}
	}
	return s != ""
}

func isValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
