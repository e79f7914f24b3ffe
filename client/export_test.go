package client

import "time"

// BackOff is backOff.
func BackOff(attempt int, r float64) time.Duration { return backOff(attempt, r) }

// AlwaysSoon makes the pauses of a socket short.
func (k *Socket) AlwaysSoon() *Socket {
	k.random = func() float64 { return 0.02 }
	return k
}
