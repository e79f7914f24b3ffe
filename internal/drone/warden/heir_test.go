package warden

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/table"
)

// reaperEnd is a reaper's connection: what the warden says to it.
func reaperEnd(t *testing.T) (ours *conn, theirs *Testament) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = newConn(accepted, time.Second), &Testament{newConn(dialled, time.Second)}
	t.Cleanup(func() { ours.close(); theirs.Close() })
	return ours, theirs
}

// A reaper that connects at any moment of a start holds its output afterwards:
// without it the warden's death would end the backend with SIGPIPE.
func TestAReaperThatConnectsDuringAStartHoldsTheOutput(t *testing.T) {
	for moment := range 4 {
		h, err := home.New(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		tab, err := table.Create(h.TableFile(), leaseclock.KindLease)
		if err != nil {
			t.Fatal(err)
		}
		defer tab.Close()
		w := &warden{home: h, table: tab, log: slog.New(slog.DiscardHandler), backends: map[plane.BackendID]*backend{}}
		w.heir = newHeir(w)
		r, wr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer wr.Close()
		b := &backend{id: "b", started: make(chan struct{}), ended: make(chan struct{}), pipe: r}
		w.backends[b.id] = b
		if b.entry, err = tab.Claim(table.Entry{Backend: "b", Generation: 1, Policy: plane.Balanced, Deadline: tab.Clock().Now() + plane.Instant(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		ours, theirs := reaperEnd(t)
		connects := func(now int) {
			if now == moment {
				w.heir.mu.Lock()
				w.heir.attachLocked(ours)
				w.heir.mu.Unlock()
			}
		}
		// As start and launch do it.
		connects(0)
		w.heir.hold(held{Backend: b.id}, r, nil)
		connects(1)
		told := w.heir.hold(b.held(), r, nil)
		connects(2)
		close(b.started)
		connects(3)
		w.heir.catchUp(b, told)
		ours.close()
		var holds Bequest
		holds.pipe = -1
		for {
			word, err := theirs.Next()
			if err != nil {
				break
			}
			if word.Hold != nil {
				holds.Absorb(word.Hold)
			}
		}
		if holds.pipe < 0 {
			t.Errorf("moment %d: it doesn't hold the output", moment)
		}
		holds.Close()
	}
}
