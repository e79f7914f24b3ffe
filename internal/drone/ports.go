package drone

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
)

var errNoPort = errors.New("no free port is left for backends; end some, or give the drone a larger port range")

// ports hands out port numbers, the one longest unused first, so that whoever
// still believes in an old address finds nobody there, for as long as possible.
type ports struct {
	mu   sync.Mutex // guards the fields below
	free []int      // longest unused first
}

// newPorts begins somewhere in the range: offset keeps two agents of one
// machine apart.
func newPorts(r PortRange, offset int) *ports {
	n := r.Last - r.First + 1
	p := &ports{free: make([]int, 0, n)}
	for i := range n {
		p.free = append(p.free, r.First+(i+offset)%n)
	}
	return p
}

// hold takes a port that a backend found running has.
func (p *ports) hold(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.free, port); i >= 0 {
		p.free = slices.Delete(p.free, i, i+1)
	}
}

// take gives a port that nobody listens on now.
func (p *ports) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range len(p.free) {
		port := p.free[0]
		p.free = p.free[1:]
		if vacant(port) {
			return port, nil
		}
		p.free = append(p.free, port)
	}
	return 0, errNoPort
}

// release makes a port the last to be taken again. Only once nobody routes to it.
func (p *ports) release(port int) {
	if port == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, port)
}

func vacant(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
