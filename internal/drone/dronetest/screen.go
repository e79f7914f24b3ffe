package dronetest

import (
	"strings"
	"sync"
)

// Screen is what was written, for one to look at meanwhile.
type Screen struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *Screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
