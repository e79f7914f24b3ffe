package drone

import (
	"time"

	"plane"
)

// left is how many ports may still be taken.
func (p *ports) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free)
}

// owed is how many reports aren't acknowledged.
func (o *outbox) owed() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending)
}

// leaseLeft is the time to the first deadline that a lease gives to backends
// here. any is false if no backend has one.
func (c *crew) leaseLeft() (left time.Duration, any bool) {
	h, now := c.keeper.get(), c.Clock.Now()
	for _, p := range plane.Policies {
		if d := h.Deadline(p); d != plane.Never && c.roster.uses(p) && (!any || d.Sub(now) < left) {
			left, any = d.Sub(now), true
		}
	}
	return left, any
}
