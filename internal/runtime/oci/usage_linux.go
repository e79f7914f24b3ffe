package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"plane"
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
	u, err := p.look().Usage(p.identity())
	if err != nil {
		return runtime.Usage{}, err
	}
	out := runtime.Usage{CPU: u.CPU, Memory: u.Memory, Disk: p.r.written(ctx, p.Running.Backend, p.bundle())}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", p.Running.Pid)); err == nil {
		out.Received, out.Sent = traffic(string(b))
	}
	return out, nil
}

// traffic reads /proc/PID/net/dev. What comes from the gate goes over the
// namespace's own loopback, which counts every byte, either way, once as
// received and once as sent: here once, as received.
func traffic(dev string) (received, sent int64) {
	for line := range strings.Lines(dev) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 9 {
			continue
		}
		in, _ := strconv.ParseInt(f[0], 10, 64)
		out, _ := strconv.ParseInt(f[8], 10, 64)
		received += in
		if strings.TrimSpace(name) != "lo" {
			sent += out
		}
	}
	return received, sent
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
