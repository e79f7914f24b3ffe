package means

import (
	"net"
	"testing"

	"plane"
)

func TestTrap11_OnlyOwnListenersCount(t *testing.T) {
	both(t, func(t *testing.T, m *Means) {
		l, err := net.Listen("tcp", "127.0.0.1:0") // ours, not the backend's
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		s, r := start(t, m, plane.Executable{Command: []string{"sh", "-c", "echo up; sleep 60"}})
		line(t, r)
		owns, everywhere, known, err := m.Listening(s.Identity, port)
		if owns || everywhere || !known || err != nil {
			t.Errorf("owns=%v everywhere=%v known=%v err=%v", owns, everywhere, known, err)
		}
		// One that has ended already, perhaps because the port was taken.
		owns, _, known, err = m.Listening(Identity{Backend: "ended", Pid: 1 << 22, Start: 1}, port)
		if owns || !known || err != nil {
			t.Errorf("of a backend that has ended: owns=%v known=%v err=%v", owns, known, err)
		}
		all, err := listeners()
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, l := range all {
			found = found || l.port == port && !l.everywhere
		}
		if !found {
			t.Error("our own listener isn't listed")
		}
		if u, err := m.Usage(s.Identity); err != nil || u.Memory <= 0 {
			t.Errorf("usage %+v, %v", u, err)
		}
	})
}
