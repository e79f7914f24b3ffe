package oci

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"plane"
	"plane/internal/drone/means"
	"plane/internal/runtime"
)

// size is what a backend had written to its own layer when it was looked at,
// which takes longer the more files there are.
type size struct {
	bytes int64
	at    time.Time
}

const sizeEvery = time.Minute

// Usage is what the backend's processes use, by looking from here.
func (p *process) Usage(ctx context.Context) (runtime.Usage, error) {
	m, id := p.Look()
	u, err := m.Usage(id)
	if err != nil {
		return runtime.Usage{}, err
	}
	out := runtime.Usage{
		CPU: u.CPU, Memory: u.Memory, Cache: u.Cache, Pids: u.Pids,
		Disk: p.r.written(ctx, p.Running.Backend, p.bundle()),
	}
	out.Received, out.Sent = means.Traffic(p.Running.Pid)
	return out, nil
}

// written is the size of a backend's own layer, now and then.
func (r *Runtime) written(ctx context.Context, id plane.BackendID, b bundle) int64 {
	r.mu.Lock()
	last, ok := r.sizes[id]
	r.mu.Unlock()
	if ok && time.Since(last.at) < sizeEvery {
		return last.bytes
	}
	n := b.written(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sizes[id] = size{n, time.Now()}
	return n
}

// written counts what lies on the disk: of a disk of its own, what that takes.
func (b bundle) written(ctx context.Context) (sum int64) {
	count := func(st fs.FileInfo) {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			sum += sys.Blocks * 512
		}
	}
	if st, err := os.Stat(b.path(diskFile)); err == nil {
		count(st)
		return sum
	}
	_ = filepath.WalkDir(b.path(upperDir), func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), fs.SkipAll)
		}
		if err == nil && !d.IsDir() {
			if st, err := d.Info(); err == nil {
				count(st)
			}
		}
		return nil // what is gone meanwhile counts nothing
	})
	return sum
}
