package image

import "time"

// SpeaksPlain tells whether a registry at host may speak plain HTTP.
var SpeaksPlain = local

// SetStall is how long a registry may send nothing.
func (s *Store) SetStall(d time.Duration) { s.stall = d }

// SetGrace is how long after a pull an image isn't removed.
func (s *Store) SetGrace(d time.Duration) { s.grace = d }
