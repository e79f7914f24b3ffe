package proxy

import "strings"

// crossSite reports whether a request for a key URL must be refused before
// anything starts, because another site's page makes it. A page can make a
// browser send requests to any key, and a mere GET starts a process; but a
// person may follow a link from anywhere.
func crossSite(r *request) bool {
	if r.hasOrigin && !sameHost(r.origin, r.host) {
		return true
	}
	if !strings.EqualFold(r.fetchSite, "cross-site") {
		return false
	}
	return !strings.EqualFold(r.fetchMode, "navigate") || !strings.EqualFold(r.fetchDest, "document")
}

// sameHost reports whether an Origin is that of the host, whatever its scheme:
// whether TLS ended in front of this proxy can't be seen here.
func sameHost(origin, host string) bool {
	scheme, rest, ok := strings.Cut(origin, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return false
	}
	return withoutPort(normalHost(rest)) == withoutPort(normalHost(host))
}

// withoutPort strips the default port of http; that of https is stripped already.
func withoutPort(h string) string { return strings.TrimSuffix(h, ":80") }
