package drone

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/drone/volume"
	"plane/internal/runtime"
	"plane/internal/wait"
)

// How data directories are weighed: one after another, each at most once in
// weighEvery, and not again while its backend used no processor, because what
// doesn't run writes nothing. Others may write there too, so weighAnyway.
const (
	weighEvery  = 10 * time.Second
	weighAnyway = 5 * time.Minute
	weighRest   = 20 // times as long as it took
)

// weight is what is known of a data directory. All but bytes belongs to the
// goroutine of weigh.
type weight struct {
	bytes atomic.Int64

	cpu   time.Duration // that the backend had used by then
	at    time.Time
	rest  time.Duration
	heard int // the highest share of the limit that people were told of, percent
}

// weigh measures the data of backends until ctx is done.
func (c *crew) weigh(ctx context.Context) {
	every := c.weighing
	for wait.For(ctx, every/5) {
		for _, r := range c.roster.all() {
			if ctx.Err() == nil && r.dataDir() != "" {
				r.weigh(ctx, every)
			}
		}
	}
}

func (r *runner) weigh(ctx context.Context, every time.Duration) {
	g, w := r.now.Load(), &r.weight
	if g.process == nil || g.state.Status == plane.Terminated || time.Since(w.at) < max(every, w.rest) {
		return
	}
	cpu, known := cpuOf(ctx, g.process)
	if known && !w.at.IsZero() && cpu == w.cpu && time.Since(w.at) < weighAnyway {
		return
	}
	began := time.Now()
	n := r.shelf.Size(ctx, r.dataDir())
	w.cpu, w.at, w.rest = cpu, time.Now(), weighRest*time.Since(began)
	w.bytes.Store(n)
	r.warnOfSize(n)
}

func cpuOf(ctx context.Context, p runtime.Process) (used time.Duration, known bool) {
	m, ok := p.(runtime.Meter)
	if !ok {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	u, err := m.Usage(ctx)
	return u.CPU, err == nil
}

// warnOfSize tells once that the limit is near and once that it is reached.
func (r *runner) warnOfSize(n int64) {
	limit := r.exec.Limits.DiskLimitBytes
	if limit == nil {
		return
	}
	share := int(float64(n) / float64(*limit) * 100)
	of := fmt.Sprintf("its data directory holds %d bytes, %d %% of its disk_limit_bytes %d", n, share, *limit)
	switch w := &r.weight; {
	case share >= 100 && w.heard < 100:
		w.heard = 100
		r.warn(of + r.beyond())
	case share >= 80 && w.heard < 80:
		w.heard = 80
		r.warn(of + "; remove something, or raise the limit")
	}
}

// beyond is what happens to a backend that has reached its limit.
func (r *runner) beyond() string {
	if r.bounded.Load() {
		return ": its writes fail; remove something, or raise the limit"
	}
	return ", and nothing here stops it from growing; remove something, or raise the limit"
}

// boundData puts the limit of the disk into force, or says that it isn't.
func (r *runner) boundData(dir string) {
	limit := r.exec.Limits.DiskLimitBytes
	var bytes int64
	if limit != nil {
		bytes = *limit
	}
	switch err := r.shelf.Bound(dir, bytes); {
	case limit == nil:
	case err == nil:
		r.bounded.Store(true)
	case !errors.Is(err, volume.ErrNoQuota):
		r.log.Error("the limit of a data directory could not be put into force; it is watched", "error", err)
	case r.shelf.once("no quota"):
		r.log.Warn("limits of data directories are watched, not in force", "reason", err)
	}
}

// warnOfNoData says that there is nothing that a limit of the disk would bound.
func (r *runner) warnOfNoData() {
	if r.exec.Limits.DiskLimitBytes != nil && r.shelf.once("no data "+r.record.App) {
		r.warn("disk_limit_bytes bounds the data directory, and the app has none; give it data: keep or scratch, or take the limit away")
	}
}
