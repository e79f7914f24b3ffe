package drone

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
)

var errNoPort = errors.New("no free port is left for backends")

// ports hands out port numbers, the one longest unused first, so that whoever
// still believes in an old address finds nobody there, for as long as possible.
type ports struct {
	whole PortRange

	mu   sync.Mutex // guards the field below
	free []int      // longest unused first
}

// newPorts begins somewhere in the range: offset keeps two agents of one
// machine apart.
func newPorts(r PortRange, offset int) *ports {
	n := r.Last - r.First + 1
	p := &ports{whole: r, free: make([]int, 0, n)}
	for i := range n {
		p.free = append(p.free, r.First+(i+offset)%n)
	}
	return p
}

// hold takes ports that a backend found running has.
func (p *ports) hold(taken ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range taken {
		if i := slices.Index(p.free, port); i >= 0 {
			p.free = slices.Delete(p.free, i, i+1)
		}
	}
}

// take gives n ports that nobody listens on now, or none.
func (p *ports) take(n int) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var taken []int
	for range len(p.free) {
		port := p.free[0]
		p.free = p.free[1:]
		if !vacant(port) {
			p.free = append(p.free, port)
			continue
		}
		if taken = append(taken, port); len(taken) == n {
			return taken, nil
		}
	}
	p.free = append(taken, p.free...) // nobody was told of them
	return nil, fmt.Errorf("%w in %s; end some, or give the drone a larger range with --ports LOW-HIGH", errNoPort, p.whole)
}

// release makes ports the last to be taken again. Only once nobody routes to them.
func (p *ports) release(given ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range given {
		if port != 0 {
			p.free = append(p.free, port)
		}
	}
}

func vacant(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
