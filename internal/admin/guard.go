package admin

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guard lets in what this machine's own programs ask. The listener is on the
// loopback address, but web pages reach that too: by a name of theirs that was
// made to point here, or by a request across sites.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		switch {
		case !loopbackHost(r.Host):
			http.Error(w, "This listener answers to loopback addresses and localhost only; call it as http://127.0.0.1:PORT/.", http.StatusForbidden)
		case fromPage(r):
			http.Error(w, "This listener doesn't take requests from web pages; call it with a program, or type its address.", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// loopbackHost reports whether a Host header names this machine itself.
func loopbackHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if in, ok := strings.CutPrefix(host, "["); ok {
		name = strings.TrimSuffix(in, "]")
	}
	if strings.EqualFold(strings.TrimSuffix(name, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// fromPage reports whether a browser sends this for a page of another origin:
// it then names the origin, or says that it crosses sites. Pages of programs
// that Plane runs are on localhost as well, so the same site isn't enough.
func fromPage(r *http.Request) bool {
	if _, ok := r.Header["Origin"]; ok {
		return true
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return true
}
