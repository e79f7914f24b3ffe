package oci

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plane"
)

// catchTime is how long a soft stop waits for a program that has just begun to
// be ready for it.
const catchTime = 500 * time.Millisecond

// Stop is the warden's. The first process of a container is the init of its pid
// namespace, and the kernel drops a SIGTERM for which that has no handler yet:
// so one that is asked to end right after its start is given the time to make
// it. One that makes none ends at the end of its grace.
func (p *process) Stop(ctx context.Context, kind plane.StopKind) error {
	if kind == plane.Soft && p.Running.Exit == nil {
		for end := time.Now().Add(catchTime); !catches(p.Running.Pid) && time.Now().Before(end); {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
	}
	return p.Backend.Stop(ctx, kind)
}

// catches reports whether a process catches SIGTERM, or isn't there.
func catches(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "SigCgt:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err != nil || mask&(1<<(unix.SIGTERM-1)) != 0
		}
	}
	return true // a zombie has none
}
