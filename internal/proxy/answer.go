package proxy

import (
	"strconv"
	"strings"

	"plane"
)

// answer is what the proxy says by itself.
type answer struct {
	status     int
	location   string
	retryAfter int    // seconds, or 0
	text       string // a sentence for people, or ""
	output     string // a program's last lines
	kind       plane.Kind
	early      bool      // a backend ended before it was ready
	cut        bool      // a backend ended that may have heard of the request
	show       *progress // what a waiting page says
	page       bool      // it is for a person, who gets a page
	html       *document
	fields     []field // further ones
	cors       bool
	backend    plane.BackendID // "" = no backend was found or host refused
	noStore    bool
}

// body is what follows the head, and its type.
func (a answer) body() (text, kind string) {
	switch {
	case a.html != nil:
		return a.html.text, "text/html; charset=utf-8"
	case a.output != "":
		return a.text + "\n" + a.output, "text/plain; charset=utf-8"
	case a.early:
		return a.text + adviceOn(a.kind, a.early, "", a.text) + "\n", "text/plain; charset=utf-8"
	}
	return a.text, "text/plain; charset=utf-8"
}

// response makes its head and body.
func (a answer) response(server string) (*response, string) {
	text, kind := a.body()
	r := &response{status: a.status, reason: reasonOf(a.status), length: int64(len(text))}
	add := func(name, value string) { r.fields = append(r.fields, field{name, value}) }
	if a.location != "" {
		add("location", a.location)
	}
	if a.retryAfter > 0 {
		add("retry-after", strconv.Itoa(a.retryAfter))
	}
	if a.status == 401 {
		add("www-authenticate", "Plane")
	}
	if text != "" && !hasField(a.fields, "content-type") {
		add("content-type", kind)
	}
	if text != "" {
		add("x-content-type-options", "nosniff")
	}
	if a.html != nil {
		add("content-security-policy", a.html.policy)
		add("referrer-policy", "no-referrer")
		add("vary", "accept, sec-fetch-dest")
	}
	if a.noStore {
		add("cache-control", "no-store")
	}
	r.fields = append(r.fields, a.fields...)
	r.fields = appendOwn(r.fields, server, a.backend, a.cors)
	return r, text
}

func hasField(fields []field, name string) bool {
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			return true
		}
	}
	return false
}

// appendOwn adds the fields that Plane puts on a response.
func appendOwn(fields []field, server string, backend plane.BackendID, cors bool) []field {
	fields = append(fields, field{"server", server})
	if backend != "" {
		fields = append(fields, field{"x-plane-backend-id", string(backend)})
	}
	if cors {
		fields = append(fields,
			field{"access-control-allow-origin", "*"},
			field{"access-control-allow-methods", "*"},
			field{"access-control-allow-headers", "*, Authorization"})
	}
	return fields
}

// dropped reports whether a field of a backend's response doesn't reach the
// client: it belongs to the backend's connection, or it is Plane's to say.
func dropped(name string, status int) bool {
	switch len(name) {
	case 6:
		return strings.EqualFold(name, "Server")
	case 7:
		return status != 101 && status != 426 && strings.EqualFold(name, "Upgrade")
	case 10:
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive")
	case 14:
		return strings.EqualFold(name, "Content-Length")
	case 16:
		return strings.EqualFold(name, "Proxy-Connection")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	case 18:
		return strings.EqualFold(name, "X-Plane-Backend-Id")
	}
	return false
}

// statusOf is the HTTP status of an error of the controller on a key URL.
func statusOf(kind plane.Kind) int {
	switch kind {
	case plane.NotFound, plane.KeyUnheldNoSpawnConfig:
		return 404
	case plane.BadRequest:
		return 400
	case plane.Unauthorized:
		return 401
	case plane.Forbidden:
		return 403
	case plane.KeyHeld, plane.FailedToRemoveKey:
		return 409
	case plane.UnsupportedExecutable:
		return 422
	case plane.CrashLoop, plane.Unavailable, plane.NoDroneAvailable, plane.KeyHeldUnhealthy, plane.StartFailed, plane.LimitExceeded, plane.DataUnavailable:
		return 503
	}
	return 500
}
