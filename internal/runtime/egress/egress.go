// Package egress gives network namespaces a way out, limited to what an
// executable asks and the operator allows. Whatever those say, private,
// link-local and metadata addresses, this machine and other backends stay out
// of reach, and IPv6 altogether.
package egress

import (
	"log/slog"
	"net/netip"

	"plane"
)

// Options of a Way.
type Options struct {
	Hash    string       // names the drone in interfaces and rules, 12 hex digits
	Allowed plane.Egress // the most that is given
	// Range is what namespaces get addresses from, two each; the zero value is
	// DefaultRange. It must not be used on this machine or its networks.
	Range netip.Prefix
	// Resolvers may be asked on port 53 although they are private; nil = those of
	// this machine's /etc/resolv.conf.
	Resolvers []netip.Addr
	Log       *slog.Logger // nil = none
}

// DefaultRange is a part of 10.0.0.0/8 that few use.
var DefaultRange = netip.MustParsePrefix("10.213.0.0/16")

// refused are the addresses that no list and no "public" opens.
var refused = []string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
}
