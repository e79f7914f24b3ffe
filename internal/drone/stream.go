package drone

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"plane"
)

// notice is the data of an event that a backend is told.
type notice struct {
	Reason     plane.Reason `json:"reason,omitempty"`
	DeadlineMS int64        `json:"deadline_ms"` // Unix milliseconds; 0 = none is set
}

// stream tells a backend's listeners what comes. A listener that doesn't read
// misses events; the latest is told to those who come later.
type stream struct {
	mu     sync.Mutex // guards the fields below
	last   string     // in the form of server-sent events
	subs   []chan string
	closed bool
}

func (s *stream) publish(event string, n notice) {
	data, err := json.Marshal(n)
	if err != nil {
		return
	}
	text := fmt.Sprintf("event: %s\ndata: %s\n\n", event, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = text
	for _, c := range s.subs {
		select {
		case c <- text:
		default:
		}
	}
}

// retract keeps an event that doesn't hold any more from those who come later.
func (s *stream) retract(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(s.last, "event: "+event+"\n") {
		s.last = ""
	}
}

// subscribe gives what comes, and a function that ends it. The channel is
// closed when the backend has ended.
func (s *stream) subscribe() (<-chan string, func()) {
	c := make(chan string, 8)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != "" {
		c <- s.last
	}
	if s.closed {
		close(c)
		return c, func() {}
	}
	s.subs = append(s.subs, c)
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if i := slices.Index(s.subs, c); i >= 0 {
			s.subs = slices.Delete(s.subs, i, i+1)
		}
	}
}

func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.subs {
		close(c)
	}
	s.subs = nil
}
