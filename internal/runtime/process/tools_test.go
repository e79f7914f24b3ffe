package process_test

import (
	"net"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/leaseclock"
)

func leaseNow() plane.Instant { return leaseclock.Lease().Now() }

// tolerance is how long after its deadline a backend may be gone. The lease
// leaves 2.4 s for killing and a margin; the rest is for a busy test machine.
func tolerance() time.Duration {
	if raced {
		return 2 * time.Second
	}
	return time.Second
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
