package drone

import (
	"fmt"
	"sync"
)

// guests counts the commands that run in one backend for somebody. While there
// is one, the backend doesn't stop for being unused.
type guests struct {
	mu     sync.Mutex // guards the fields below
	n      int
	closed bool // it stops because nobody uses it
}

// enter reports whether a command may begin; leave must follow.
func (g *guests) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.n++
	return true
}

func (g *guests) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
}

func (g *guests) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n
}

// closeUnlessAny lets no command begin from now on, unless there are some: then
// it tells how many.
func (g *guests) closeUnlessAny() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = g.n == 0
	return g.n
}

func (g *guests) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
}

func commandsRun(n int) string {
	if n == 1 {
		return "a command runs in it (`plane exec`)"
	}
	return fmt.Sprintf("%d commands run in it (`plane exec`)", n)
}
