package egress

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// anyDrone matches the interfaces of every drone on this machine.
var anyDrone = regexp.MustCompile(`^pl[0-9a-f]{7,}$`)

// choose picks the range of addresses: the one in which our cables are, else
// the first that no network of this machine uses.
func (w *Way) choose() (netip.Prefix, error) {
	candidates := Ranges
	if w.o.Range.IsValid() {
		if err := CheckRange(w.o.Range); err != nil {
			return netip.Prefix{}, err
		}
		candidates = []netip.Prefix{w.o.Range.Masked()}
	}
	routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("look at the routes of this machine: %w", err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("list network interfaces: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var clash string
	free := netip.Prefix{}
	for _, c := range candidates {
		other := ""
		for _, r := range routes {
			to, ok := destination(r)
			if !ok || !to.Overlaps(c) {
				continue
			}
			name := names[r.LinkIndex]
			if strings.HasPrefix(name, w.prefix()) {
				return c, nil
			}
			if !anyDrone.MatchString(name) {
				other = to.String()
			}
		}
		switch {
		case other == "" && !free.IsValid():
			free = c
		case other != "" && clash == "":
			clash = fmt.Sprintf("%s, which overlaps with %s", other, c)
		}
	}
	if !free.IsValid() {
		return free, fmt.Errorf("a network of this machine uses %s, from which containers get their addresses; name another range with --egress-range", clash)
	}
	return free, nil
}

// destination of a route that isn't the default one.
func destination(r netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, false
	}
	to, ok := netip.AddrFromSlice(r.Dst.IP.To4())
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(to, bits), ok && bits > 0
}

// size is how many cables the range has addresses for, but its first and last
// and the gateway's.
func (w *Way) size() int { return 1<<(32-w.space.Bits()) - 3 }

// at is an address of the range by its place.
func (w *Way) at(n int) netip.Addr {
	b := w.space.Addr().As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]) + uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// gateway is what all namespaces send to. Nothing has that address: each knows
// to what hardware it belongs.
func (w *Way) gateway() netip.Addr { return w.at(1) }
