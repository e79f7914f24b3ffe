package proxy

import (
	"log/slog"
	"strconv"
	"strings"

	"plane"
)

// reserved reports whether a field name is one that only Plane may say to a
// backend, in any spelling that some server takes for it: case, and '_' for '-'.
func reserved(name string) bool {
	if len(name) < 12 || name[0]|0x20 != 'x' || name[1] != '-' && name[1] != '_' {
		return false
	}
	return matches(name, "x-verified-") || len(name) == 15 && matches(name, "x-forwarded-for") ||
		len(name) == 17 && matches(name, "x-forwarded-proto")
}

// matches reports whether name begins with prefix, which is in lower case.
func matches(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		case c == '_':
			c = '-'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// perHop reports whether a field of a request belongs to the connection that it
// came over. Those are written anew. What Connection names beside them passes:
// it is between client and backend, and leaves no way to take our fields away.
func perHop(name string) bool {
	switch len(name) {
	case 7:
		return strings.EqualFold(name, "Upgrade")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 14:
		return strings.EqualFold(name, "HTTP2-Settings") || strings.EqualFold(name, "Content-Length")
	case 16:
		return strings.EqualFold(name, "Proxy-Connection")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// identity is what a backend is told of who comes.
type identity struct {
	claims *plane.Claims // nil for static tokens and key URLs
	secret string
}

// appendFields writes the fields for user, user data and secret. A value that a
// field can't carry unchanged is left out.
func (id identity) appendFields(b []byte, log *slog.Logger) []byte {
	if id.claims != nil {
		if id.claims.User != nil {
			b = appendVerified(b, "x-verified-username", *id.claims.User, log)
		}
		b = appendVerified(b, "x-verified-user-data", string(id.claims.Auth), log)
	}
	return appendVerified(b, "x-verified-secret", id.secret, log)
}

func appendVerified(b []byte, name, value string, log *slog.Logger) []byte {
	if !printable(value) {
		log.Warn("left out a field that can't carry its value", "field", name)
		return b
	}
	return appendField(b, name, value)
}

// printable reports whether value is printable ASCII, without blanks at either
// end: a reader would cut those off and see another user.
func printable(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return false
		}
	}
	return value == "" || value[0] != ' ' && value[len(value)-1] != ' '
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// onward is what a request's head needs besides what the client sent.
type onward struct {
	path    string // without query
	peer    string
	scheme  string
	backend plane.BackendID
	who     []byte // fields made by identity
	way     *way
}

// appendRequest writes the head of the request for the backend.
func appendRequest(b []byte, r *request, o onward) []byte {
	b = append(b, r.method...)
	b = append(b, ' ')
	b = append(b, o.path...)
	b = append(b, r.query...)
	b = append(b, " HTTP/1.1\r\n"...)
	for _, f := range r.fields {
		if perHop(f.name) || reserved(f.name) || !r.expect && strings.EqualFold(f.name, "Expect") {
			continue
		}
		if o.way.changes && o.way.changed(f.name) {
			b = o.way.appendChanged(b, f)
			continue
		}
		b = appendField(b, f.name, f.value)
	}
	b = o.way.appendOwn(b)
	switch {
	case r.change != "":
		b = append(b, "Connection: Upgrade\r\n"...)
		b = appendField(b, "Upgrade", r.change)
	case r.length == chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.length > 0 || bodyExpected(r.method):
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, r.length, 10)
		b = append(b, "\r\n"...)
	}
	b = appendField(b, "x-forwarded-for", o.peer)
	b = appendField(b, "x-forwarded-proto", o.scheme)
	if printable(r.path) {
		b = appendField(b, "x-verified-path", r.path)
	}
	b = appendField(b, "x-verified-backend", string(o.backend))
	b = append(b, o.who...)
	return append(b, "\r\n"...)
}

// bodyExpected reports whether a server may want a length even of an empty body.
func bodyExpected(method string) bool {
	return method == "POST" || method == "PUT" || method == "PATCH"
}
