package client

import "time"

// BackOff is backOff.
func BackOff(attempt int, sinceLoss time.Duration, r float64) time.Duration {
	return backOff(attempt, sinceLoss, r)
}

// AlwaysLate makes the pauses of a socket as long as may be.
func (k *Socket) AlwaysLate() *Socket {
	k.random = func() float64 { return 0.999 }
	return k
}

// AlwaysSoon makes the pauses of a socket short.
func (k *Socket) AlwaysSoon() *Socket {
	k.random = func() float64 { return 0.02 }
	return k
}
