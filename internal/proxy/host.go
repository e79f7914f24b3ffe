package proxy

import (
	"strings"

	"plane"
)

// where is how a host name lies to the cluster's.
type where int

const (
	foreign where = iota // outside the cluster
	bare                 // the cluster's own name
	below                // a name below the cluster's
)

// hostNames are the names that stand for one cluster, lower-cased, without :443.
type hostNames []string

func newHostNames(cluster plane.ClusterName, also []string) hostNames {
	names := hostNames{normalHost(string(cluster))}
	for _, h := range also {
		names = append(names, normalHost(h))
	}
	return names
}

// normalHost is the form in which hosts are compared: the port of https says nothing.
func normalHost(h string) string {
	h = strings.TrimSuffix(h, ":443")
	for i := range len(h) {
		if c := h[i]; 'A' <= c && c <= 'Z' {
			return strings.ToLower(h)
		}
	}
	return h
}

// place says where a normal host lies and, below the cluster, what precedes its name.
func (n hostNames) place(host string) (sub string, w where) {
	for _, c := range n {
		if host == c {
			return "", bare
		}
	}
	for _, c := range n {
		if sub, ok := strings.CutSuffix(host, c); ok && len(sub) > 1 && sub[len(sub)-1] == '.' {
			return sub[:len(sub)-1], below
		}
	}
	return "", foreign
}

// reaches reports whether a request for host may reach the route: the bare name
// of its cluster, or its subdomain if it has one. own are the names of the
// proxy's cluster, which count if it is the route's.
func reaches(r *plane.Route, host string, own hostNames) bool {
	names := own
	if cluster := normalHost(string(r.Cluster)); cluster != own[0] {
		names = hostNames{cluster}
	}
	sub, w := names.place(host)
	return w != foreign && sub == strings.ToLower(r.Subdomain)
}

// validHost reports whether a Host field is one: a name or address, and a port.
func validHost(h string) bool {
	if h == "" || len(h) > 300 {
		return false
	}
	for i := range len(h) {
		c := h[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`/\?#@<>"{}|^,`+"`", c) >= 0 {
			return false
		}
	}
	return true
}
