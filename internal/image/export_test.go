package image

import "time"

// SpeaksPlain tells whether a registry at host may speak plain HTTP.
var SpeaksPlain = local

// SetStall is how long a registry may send nothing.
func (s *Store) SetStall(d time.Duration) { s.stall = d }

// SetGrace is how long after a pull an image isn't removed.
func (s *Store) SetGrace(d time.Duration) { s.grace = d }

// Waiters counts those who wait for pulls of an image.
func (s *Store) Waiters(r Ref) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, f := range s.flights {
		if key.ref == r {
			n += f.waiters
		}
	}
	return n
}
