package image

import (
	"context"
	"os"
	"time"
)

// SpeaksPlain tells whether a registry at host may speak plain HTTP.
var SpeaksPlain = local

// SetStall is how long a registry may send nothing.
func (s *Store) SetStall(d time.Duration) { s.stall = d }

// SetGrace is how long after a pull an image isn't removed.
func (s *Store) SetGrace(d time.Duration) { s.grace = d }

// Waiters counts those who wait for pulls of an image.
func (s *Store) Waiters(r Ref) int {
	return s.flights.Waiting(func(k flightKey) bool { return k.ref == r })
}

// Layers counts those that are here.
func (s *Store) Layers() int {
	entries, _ := os.ReadDir(s.path("layers"))
	return len(entries)
}

// Damaged counts the layers that aren't whole.
func (s *Store) Damaged() (n int) {
	entries, _ := os.ReadDir(s.path("layers"))
	for _, e := range entries {
		if _, ok := s.has(e.Name()); !ok {
			n++
		}
	}
	return n
}

// Share is share.
func (s *Store) Share(ctx context.Context) (unlock func(), err error) { return s.share(ctx) }
