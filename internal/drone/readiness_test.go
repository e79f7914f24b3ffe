package drone

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"plane"
	"plane/internal/runtime"
	"plane/internal/runtime/fake"
)

// Whose socket it is can only be found among all that listen. As long as
// somebody else has the port, that is looked at ever more rarely.
func TestPortOfAStrangerIsNotLookedAtEagerly(t *testing.T) {
	c := newController(t)
	d := newDrone(t, c)
	stranger := make(chan net.Listener, 1)
	d.runtime.Program = func(runtime.Unit) fake.Program { return fake.Program{Mute: true} }
	d.runtime.OnStart = func(_ context.Context, u runtime.Unit) error {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(u.Port)))
		stranger <- l
		return err
	}
	d.begin()
	c.awaitLease(d)
	c.spawn("one", "k")
	l := <-stranger
	defer func() { _ = l.Close() }()
	eventually(t, "it is looked at", func() bool { return d.runtime.Looks("one") > 0 })
	began := time.Now()
	eventually(t, "it is looked at again", func() bool { return d.runtime.Looks("one") > 7 })
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("it was looked at 8 times in %v", took)
	}
	if s := c.state("one").Status; s == plane.Ready {
		t.Error("somebody else's socket made it ready")
	}
}
