package drone

import (
	"fmt"
	"strconv"
	"strings"
)

// PortRange bounds the ports that backends are given, both ends included.
type PortRange struct{ First, Last int }

// DefaultPorts lie below what systems take for outgoing connections.
var DefaultPorts = PortRange{20000, 31999}

// ParsePorts reads "LOW-HIGH". Its errors begin with the text.
func ParsePorts(text string) (PortRange, error) {
	low, high, _ := strings.Cut(text, "-")
	first, err1 := strconv.Atoi(strings.TrimSpace(low))
	last, err2 := strconv.Atoi(strings.TrimSpace(high))
	if err1 != nil || err2 != nil {
		return PortRange{}, fmt.Errorf("%q: use LOW-HIGH, as in %s", text, DefaultPorts)
	}
	r := PortRange{first, last}
	return r, r.check()
}

// String is the form that ParsePorts reads.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

func (r PortRange) check() error {
	if r.First < 1 || r.Last > 65535 || r.First > r.Last {
		return fmt.Errorf("%q: use 1 to 65535, the lower one first", r.String())
	}
	return nil
}
