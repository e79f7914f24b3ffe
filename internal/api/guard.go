package api

import (
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"

	"plane"
)

// The checks of this file keep web pages out: an API on the loopback address
// that starts commands would be remote code execution for every page that the
// user of the machine looks at.

// hostAllowed reports whether a Host header may reach an API that trusts the
// loopback address: a foreign name means that someone's DNS was made to point
// here (DNS rebinding).
func hostAllowed(host string, allowed []string) bool {
	name := strings.ToLower(host)
	if slices.Contains(allowed, name) {
		return true
	}
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	} else {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	}
	name = strings.TrimSuffix(name, ".")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(allowed, name) {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// peerAllowed reports whether the other end of the connection is this machine.
// A peer without an IP address is a local socket.
func peerAllowed(remote string) bool {
	peer, err := netip.ParseAddrPort(remote)
	return err != nil || peer.Addr().Unmap().IsLoopback()
}

// refuseBrowser keeps scripts of web pages off /ctrl: browsers name the page
// that a request comes from, other programs don't.
func refuseBrowser(r *http.Request, origins []string) error {
	if origin, ok := r.Header["Origin"]; ok {
		for _, o := range origin {
			if !slices.Contains(origins, o) {
				return plane.NewError(plane.Forbidden, "This API does not take requests from web pages (Origin header). Call it from your server.")
			}
		}
		return nil
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return nil
	}
	return plane.NewError(plane.Forbidden, "This API does not take requests from other sites (Sec-Fetch-Site header). Call it from your server.")
}

// isJSON reports whether a Content-Type is application/json or application/*+json.
func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	sub, ok := strings.CutPrefix(kind, "application/")
	return ok && (sub == "json" || len(sub) > len("+json") && strings.HasSuffix(sub, "+json"))
}

// clean reports whether an escaped path is in its shortest form; ServeMux
// would redirect from the others, and no such route exists.
func clean(escaped string) bool { return path.Clean(escaped) == escaped }

// saneID reports whether a caller's X-Request-Id may go into logs and events.
func saneID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range id {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// allowAnyOrigin adds what every answer on /pub has: ids there can't be
// guessed and nothing changes.
func allowAnyOrigin(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Vary", "origin, access-control-request-method, access-control-request-headers")
}

func answerPreflight(w http.ResponseWriter) {
	w.Header().Set("Access-Control-Allow-Methods", "GET,POST")
	w.Header().Set("Access-Control-Allow-Headers", "content-type")
	w.WriteHeader(http.StatusOK)
}

// headOnly runs a handler for its status and headers; its body is dropped.
type headOnly struct{ http.ResponseWriter }

func (h headOnly) WriteHeader(code int) {
	header := h.Header()
	header.Del("Content-Type")
	header.Del("X-Content-Type-Options")
	header.Set("Content-Length", "0")
	h.ResponseWriter.WriteHeader(code)
}

func (h headOnly) Write(b []byte) (int, error) { return len(b), nil }
