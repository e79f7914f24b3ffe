package drone

import (
	"context"
	"time"

	"plane"
	"plane/internal/runtime"
	"plane/internal/wire"
)

const (
	usageTimeout = 2 * time.Second
	usageBatch   = 500 // backends a message
)

// measure reports what backends use, beside everything that must arrive.
func (l *link) measure(ctx context.Context) error {
	var before hostTimes
	for sleep(ctx, l.telemetry) {
		host := lookAtHost(l.Home.Dir, &before)
		l.Metrics.lost(l.conn.SendTelemetry(wire.Telemetry{Host: &host}))
		var batch []wire.Usage
		for _, r := range l.roster.all() {
			if u, ok := r.usage(ctx); ok {
				batch = append(batch, u)
			}
			if len(batch) == usageBatch {
				l.Metrics.lost(l.conn.SendTelemetry(wire.Telemetry{Backends: batch}))
				batch = nil
			}
		}
		if len(batch) > 0 {
			l.Metrics.lost(l.conn.SendTelemetry(wire.Telemetry{Backends: batch}))
		}
	}
	return context.Cause(ctx)
}

// pullEvery is how often progress is told at most.
const pullEvery = 200 * time.Millisecond

// tellPulls tells how far preparations have come.
func (l *link) tellPulls(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.pulls:
		}
		for _, r := range l.roster.all() {
			if p := r.pull.Swap(nil); p != nil {
				l.Metrics.lost(l.conn.SendTelemetry(*p))
			}
		}
		if !sleep(ctx, pullEvery) {
			return context.Cause(ctx)
		}
	}
}

func (r *runner) usage(ctx context.Context) (wire.Usage, bool) {
	g := r.now.Load()
	if g.process == nil || g.state.Status == plane.Terminated {
		return wire.Usage{}, false
	}
	u := wire.Usage{Backend: r.id, Holds: r.holds.list(), Data: r.weight.bytes.Load()}
	if w := r.warning.Load(); w != nil {
		u.Warning = *w
	}
	if m, ok := g.process.(runtime.Meter); ok {
		ctx, cancel := context.WithTimeout(ctx, usageTimeout)
		defer cancel()
		if x, err := m.Usage(ctx); err == nil {
			u.CPUMS, u.Memory, u.Cache, u.Pids = x.CPU.Milliseconds(), x.Memory, x.Cache, x.Pids
			u.In, u.Out, u.Disk = x.Received, x.Sent, x.Disk
		}
	}
	return u, true
}
