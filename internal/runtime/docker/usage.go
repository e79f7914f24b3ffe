package docker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"plane/internal/runtime"
)

// size is how much a container has written to its own layer, which takes the
// engine a while to find out.
type size struct {
	bytes int64
	at    time.Time
}

const sizeEvery = time.Minute

// Usage is what the container uses: of its cgroup where that can be read, else
// what the engine tells, once. See runtime.Meter.
func (p *process) Usage(ctx context.Context) (runtime.Usage, error) {
	u, ok := runtime.Usage{}, false
	if p.way != published {
		u, ok = usageOf(p.Pid())
	}
	if !ok {
		var err error
		if u, err = p.r.stats(ctx, p); err != nil {
			return runtime.Usage{}, err
		}
	}
	u.Disk = p.r.written(ctx, p)
	return u, nil
}

func (r *Runtime) stats(ctx context.Context, p *process) (runtime.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	res, err := r.engine.ContainerStats(ctx, containerName(p.id), client.ContainerStatsOptions{})
	if err != nil {
		if gone(err) {
			return runtime.Usage{}, runtime.ErrGone
		}
		return runtime.Usage{}, r.silent(err)
	}
	defer res.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		return runtime.Usage{}, wrong("read what a container uses: %w", err)
	}
	return counted(s), nil
}

// counted reads one record of the engine by the rules of Plane 0.5.
func counted(s container.StatsResponse) runtime.Usage {
	inactive, ok := s.MemoryStats.Stats["total_inactive_file"] // cgroup v1
	if !ok {
		inactive = s.MemoryStats.Stats["inactive_file"]
	}
	u := runtime.Usage{
		CPU:    time.Duration(s.CPUStats.CPUUsage.TotalUsage),
		Memory: held(int64(s.MemoryStats.Usage), int64(inactive)),
		Cache:  min(int64(inactive), int64(s.MemoryStats.Usage)),
		Pids:   int64(s.PidsStats.Current),
	}
	for _, n := range s.Networks {
		u.Received += int64(n.RxBytes)
		u.Sent += int64(n.TxBytes)
	}
	return u
}

// held is usage less inactive page cache. The two are read one after the other,
// so the difference may be below zero (trap 44).
func held(usage, inactive int64) int64 { return max(usage-inactive, 0) }

// written asks the engine for the size of the container's layer now and then.
func (r *Runtime) written(ctx context.Context, p *process) int64 {
	r.mu.Lock()
	last, ok := r.sizes[p.id]
	r.mu.Unlock()
	if ok && time.Since(last.at) < sizeEvery {
		return last.bytes
	}
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	found, err := r.engine.ContainerInspect(ctx, containerName(p.id), client.ContainerInspectOptions{Size: true})
	if err != nil || found.Container.SizeRw == nil || found.Container.State == nil || !found.Container.State.Running {
		return last.bytes
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sizes[p.id] = size{bytes: *found.Container.SizeRw, at: time.Now()}
	return *found.Container.SizeRw
}
