package plane

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// Names are typed so that one can't be passed for another.
type (
	// BackendID names one run of an executable. It is never reused.
	BackendID string
	// NodeName names a controller, drone or proxy.
	NodeName string
	// ClusterName is the host, or host:port, that end users see.
	ClusterName string
)

// Prefix is the kind of a generated name.
type Prefix string

// Prefixes of generated names. Backends and errors have none.
const (
	NoPrefix         Prefix = ""
	PrefixController Prefix = "co"
	PrefixDrone      Prefix = "dr"
	PrefixProxy      Prefix = "px"
	PrefixDNS        Prefix = "ns"
	PrefixAction     Prefix = "ak"
	PrefixKey        Prefix = "lk"
	PrefixAPIKey     Prefix = "ap"
	PrefixVolume     Prefix = "vo"
)

const (
	nameAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	nameRandom   = 14
	// MaxNameLength is the most characters a node, action or backend name may have.
	MaxNameLength = 45
	// MaxLabelLength is the most characters a DNS label may have.
	MaxLabelLength = 63
)

// RandomName returns prefix + "-" + 14 characters drawn uniformly from a-z and
// 0-9 by r (crypto/rand.Reader outside simulations). It panics if r fails:
// a system without randomness can't hand out names.
func RandomName(r io.Reader, prefix Prefix) string {
	var b strings.Builder
	if prefix != NoPrefix {
		b.WriteString(string(prefix))
		b.WriteByte('-')
	}
	buf := make([]byte, nameRandom*2)
	for n := 0; n < nameRandom; {
		if _, err := io.ReadFull(r, buf); err != nil {
			panic("plane: no randomness: " + err.Error())
		}
		for _, c := range buf {
			// 252 = 7·36: larger bytes would favour the first letters.
			if c >= 252 || n == nameRandom {
				continue
			}
			b.WriteByte(nameAlphabet[int(c)%len(nameAlphabet)])
			n++
		}
	}
	return b.String()
}

func checkName(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty; use 1 to %d characters a-z, 0-9 and '-'", what, MaxNameLength)
	}
	if len(s) > MaxNameLength {
		return fmt.Errorf("%s is %d characters long; at most %d are allowed", what, len(s), MaxNameLength)
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%s contains %q; use only a-z, 0-9 and '-'", what, c)
		}
	}
	return nil
}

// Check reports what is wrong with a backend id: 1 to 45 characters a-z, 0-9, '-'.
func (id BackendID) Check() error { return checkName("backend id", string(id)) }

// CheckNode reports what is wrong with a node name that must begin with prefix.
func CheckNode(n NodeName, prefix Prefix) error {
	if err := checkName("name", string(n)); err != nil {
		return err
	}
	if !strings.HasPrefix(string(n), string(prefix)) {
		return fmt.Errorf("name %q must begin with %q", n, prefix)
	}
	return nil
}

// Check reports what is wrong with a cluster name: a host name or IPv4 address,
// and optionally ':' and a port.
func (c ClusterName) Check() error {
	host, port, hasPort := strings.Cut(string(c), ":")
	if hasPort {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("cluster %q: port %q is not a number from 0 to 65535", c, port)
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if host == "" || len(host) > 253 {
		return fmt.Errorf("cluster %q: use a host name of 1 to 253 characters, optionally with :PORT", c)
	}
	for label := range strings.SplitSeq(host, ".") {
		if !isHostLabel(label) {
			return fmt.Errorf("cluster %q: %q is not a host name label (a-z, 0-9, '-', at most 63)", c, label)
		}
	}
	return nil
}

func isHostLabel(s string) bool {
	if s == "" || len(s) > MaxLabelLength || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// Scheme is https for a cluster without a port or on port 443, else http.
func (c ClusterName) Scheme() string {
	_, port, ok := strings.Cut(string(c), ":")
	if !ok || port == "443" {
		return "https"
	}
	return "http"
}

// CheckSubdomain reports what is wrong with a caller's subdomain: letters,
// digits and '-', not at either end; no "--", which separates keys from apps
// in key URLs; at most 63 characters.
func CheckSubdomain(s string) error {
	switch {
	case len(s) > MaxLabelLength:
		return fmt.Errorf("subdomain is %d bytes long; at most %d are allowed", len(s), MaxLabelLength)
	case strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-"):
		return fmt.Errorf("subdomain %q must not begin or end with '-'", s)
	case strings.Contains(s, "--"):
		return fmt.Errorf("subdomain %q must not contain \"--\", which is reserved for key URLs", s)
	}
	for _, c := range s {
		if c != '-' && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return fmt.Errorf("subdomain contains %q; use letters, digits and '-'", c)
		}
	}
	return nil
}
