package drone

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/runtime"
	"plane/internal/wait"
	"plane/internal/wire"
)

const (
	usageTimeout = 2 * time.Second
	usageBatch   = 500 // backends a message
	usageLookers = 8   // at once
)

// measure reports what backends and machine use, beside everything that must
// arrive.
func (l *link) measure(ctx context.Context) error {
	var before hostTimes
	for wait.For(ctx, l.telemetry) {
		host := lookAtHost(l.Home.Dir, &before)
		m := wire.Telemetry{Host: &host}
		for batch := range slices.Chunk(l.usages(ctx), usageBatch) {
			m.Backends = batch
			l.Metrics.lost(l.conn.SendTelemetry(m))
			m = wire.Telemetry{}
		}
		if m.Host != nil {
			l.Metrics.lost(l.conn.SendTelemetry(m))
		}
	}
	return context.Cause(ctx)
}

// usages looks at several backends at once: an engine that doesn't answer for
// some holds up the others little.
func (l *link) usages(ctx context.Context) []wire.Usage {
	runners := l.roster.all()
	all, known := make([]wire.Usage, len(runners)), make([]bool, len(runners))
	var next atomic.Int64
	var lookers sync.WaitGroup
	for range min(usageLookers, len(runners)) {
		lookers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(runners); i = int(next.Add(1)) - 1 {
				all[i], known[i] = runners[i].usage(ctx)
			}
		})
	}
	lookers.Wait()
	i := 0
	return slices.DeleteFunc(all, func(wire.Usage) bool { i++; return !known[i-1] })
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
				// Behind all else, and not in place of what tells of use.
				if err := l.conn.SendBulk(ctx, *p); err != nil {
					return err
				}
			}
		}
		if !wait.For(ctx, pullEvery) {
			return context.Cause(ctx)
		}
	}
}

func (r *runner) usage(ctx context.Context) (wire.Usage, bool) {
	g := r.now.Load()
	if g.process == nil || g.state.Status == plane.Terminated {
		return wire.Usage{}, false
	}
	u := wire.Usage{Backend: r.id, Holds: r.holds.list(), Data: r.weight.bytes.Load(), Commands: r.guests.count()}
	if w := r.warning.Load(); w != nil {
		u.Warning = *w
	}
	x := r.meter(ctx, g.process)
	u.CPUMS, u.Memory, u.Cache, u.Pids = x.CPU.Milliseconds(), x.Memory, x.Cache, x.Pids
	u.In, u.Out, u.Disk = x.Received, x.Sent, x.Disk
	return u, true
}

// metered is the latest look at what a backend uses; it belongs to the goroutine
// that reports it.
type metered struct {
	runtime.Usage
	at time.Time
}

// meter looks at most every usageEvery; what can't be told stays as it was.
func (r *runner) meter(ctx context.Context, p runtime.Process) runtime.Usage {
	m, ok := p.(runtime.Meter)
	if !ok || time.Since(r.used.at) < r.usageEvery {
		return r.used.Usage
	}
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	if u, err := m.Usage(ctx); err == nil {
		r.used = metered{u, time.Now()}
	}
	return r.used.Usage
}
