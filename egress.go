package plane

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Egress says what a backend in a network of its own may reach. Whatever it
// says, private, link-local and metadata addresses, the host and other backends
// are refused. The zero value is nothing.
type Egress struct {
	Public bool   // every public address
	Rules  []Rule // these alone, unless Public
}

// Rule is a range of addresses, and one port of them or all (0).
type Rule struct {
	Prefix netip.Prefix
	Port   uint16
}

// None reports whether nothing may be reached.
func (e Egress) None() bool { return !e.Public && len(e.Rules) == 0 }

// ParseEgress reads "none" or nothing, "public", or a list of addresses and
// ranges with commas between them, each with :PORT if need be:
// "203.0.113.0/24, 198.51.100.7:443, [2001:db8::1]:5432".
func ParseEgress(s string) (Egress, error) {
	switch s {
	case "", "none":
		return Egress{}, nil
	case "public":
		return Egress{Public: true}, nil
	}
	var e Egress
	for item := range strings.SplitSeq(s, ",") {
		r, err := parseRule(strings.TrimSpace(item))
		if err != nil {
			return Egress{}, err
		}
		e.Rules = append(e.Rules, r)
	}
	return e, nil
}

func parseRule(s string) (Rule, error) {
	wrong := fmt.Errorf("is %q; use none, public, or addresses such as 203.0.113.0/24 or 198.51.100.7:443 with commas between them", s)
	host, port := s, ""
	switch inner, rest, bracket := strings.Cut(strings.TrimPrefix(s, "["), "]"); {
	case strings.HasPrefix(s, "[") && bracket:
		host, port = inner, strings.TrimPrefix(rest, ":")
		if rest != "" && port == rest {
			return Rule{}, wrong
		}
	case strings.Count(s, ":") == 1:
		host, port, _ = strings.Cut(s, ":")
	}
	var r Rule
	if strings.HasSuffix(s, ":") {
		return Rule{}, wrong
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Rule{}, wrong
		}
		r.Port = uint16(n)
	}
	if p, err := netip.ParsePrefix(host); err == nil {
		r.Prefix = p.Masked()
		return r, nil
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" {
		return Rule{}, wrong
	}
	r.Prefix = netip.PrefixFrom(a, a.BitLen())
	return r, nil
}

// Within is what both e and limit allow.
func (e Egress) Within(limit Egress) Egress {
	switch {
	case limit.Public:
		return e
	case e.Public:
		return limit
	}
	var both Egress
	for _, a := range e.Rules {
		for _, b := range limit.Rules {
			if r, ok := a.within(b); ok && !slices.Contains(both.Rules, r) {
				both.Rules = append(both.Rules, r)
			}
		}
	}
	return both
}

func (r Rule) within(limit Rule) (Rule, bool) {
	if !r.Prefix.Overlaps(limit.Prefix) || r.Port != 0 && limit.Port != 0 && r.Port != limit.Port {
		return Rule{}, false
	}
	both := r
	if limit.Prefix.Bits() > r.Prefix.Bits() {
		both.Prefix = limit.Prefix
	}
	if both.Port == 0 {
		both.Port = limit.Port
	}
	return both, true
}
