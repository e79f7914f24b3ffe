// Package egress gives network namespaces a way out, limited to what an
// executable asks and the operator allows. Whatever those say, private,
// link-local and metadata addresses, this machine and other backends stay out
// of reach, and IPv6 altogether.
package egress

import (
	"fmt"
	"log/slog"
	"net/netip"

	"plane"
)

// Options of a Way.
type Options struct {
	Hash    string       // names the drone in interfaces and rules, 12 hex digits
	Allowed plane.Egress // the most that is given
	// Range is what namespaces get addresses from, one each; several drones of a
	// machine may share it. It must not be used on this machine or its networks.
	// The zero value is the first of Ranges that isn't.
	Range netip.Prefix
	// Resolvers may be asked on port 53 although they are private; nil = those of
	// this machine, as they are whenever a way is given.
	Resolvers []netip.Addr
	// Closed are further addresses that nothing opens, such as public ones of the
	// operator's own machines.
	Closed []netip.Prefix
	Log    *slog.Logger // nil = none
}

// Ranges are parts of private networks that few use.
var Ranges = prefixes("10.213.0.0/16", "172.29.208.0/20", "192.168.213.0/24", "10.77.0.0/16")

// CheckRange refuses what can't be a Range.
func CheckRange(p netip.Prefix) error {
	if !p.Addr().Is4() || p.Bits() > 28 {
		return fmt.Errorf("the range of containers' addresses is %s; use one of IPv4 with 16 addresses or more", p)
	}
	return nil
}

// closed are the addresses that no list and no "public" opens: IANA's special
// ones but for documentation, and what Azure's machines have for metadata.
var closed = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
)

func prefixes(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
