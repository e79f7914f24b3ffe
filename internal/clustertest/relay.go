package clustertest

import (
	"io"
	"net"
	"sync"
)

// Relay carries connections to an address until it is cut, so that one part
// alone can be kept away from another.
type Relay struct {
	Addr string

	to string
	mu sync.Mutex // guards the fields below

	cut   bool
	conns map[net.Conn]struct{}
}

// StartRelay carries to an address until the end of the test.
func StartRelay(t TB, to string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Addr: l.Addr().String(), to: to, conns: map[net.Conn]struct{}{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.Cut()
		wg.Wait()
	})
	return r
}

// Cut ends all connections and carries no new ones until Mend.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = true
	for c := range r.conns {
		_ = c.Close()
	}
}

// Mend carries connections again.
func (r *Relay) Mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = false
}

// hold reports whether c may be carried.
func (r *Relay) hold(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut {
		_ = c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *Relay) carry(c net.Conn) {
	if !r.hold(c) {
		return
	}
	defer r.drop(c)
	up, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	if !r.hold(up) {
		return
	}
	defer r.drop(up)
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, up}, {up, c}} {
		wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	wg.Wait()
}

func (r *Relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = c.Close()
	delete(r.conns, c)
}
