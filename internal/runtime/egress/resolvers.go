package egress

import (
	"bufio"
	"net/netip"
	"os"
	"strings"
)

// resolvConfs are where a machine names its resolvers, best first: where the
// first has but a forwarder on the loopback, the second has those behind it.
var resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// machinesResolvers are those that can be asked from another namespace.
func machinesResolvers() []netip.Addr {
	for _, path := range resolvConfs {
		if all := resolversOf(path); len(all) > 0 {
			return all
		}
	}
	return nil
}

func resolversOf(path string) []netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var all []netip.Addr
	for s := bufio.NewScanner(f); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) > 1 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				all = append(all, a.Unmap())
			}
		}
	}
	return reachable(all)
}

// reachable are those of IPv4 that aren't a loopback's.
func reachable(all []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		if a.Is4() && !a.IsLoopback() && !a.IsUnspecified() {
			out = append(out, a)
		}
	}
	return out
}
