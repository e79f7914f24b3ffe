package process_test

import (
	"io"
	"net"
	"os"
	"strings"
	"syscall"
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

// fifo makes a pipe with a name that a script may wait on; open lets it go on.
func (g *rig) fifo(name string) string {
	g.t.Helper()
	if err := syscall.Mkfifo(g.file(name), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return g.file(name)
}

func (g *rig) open(name string) {
	g.t.Helper()
	f, err := os.OpenFile(g.file(name), os.O_WRONLY, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	_, _ = f.WriteString("go\n")
	_ = f.Close()
}

// outputs waits until the backend has written text.
func (g *rig) outputs(id plane.BackendID, text string) {
	g.t.Helper()
	g.eventually("it writes "+text, func() bool { return strings.Contains(g.output(id), text) })
}

func (g *rig) output(id plane.BackendID) string {
	r, err := g.r.Output(g.ctx(), id, 0, false)
	if err != nil {
		return ""
	}
	defer r.Close()
	b, _ := io.ReadAll(r)
	return string(b)
}
