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
	"plane/internal/runtime/line"
)

// catchTime is how long a soft stop waits for a program that has just begun to
// be ready for it.
const catchTime = 500 * time.Millisecond

// Stop is the warden's, but that an image may name another signal than SIGTERM.
// The first process of a container is the init of its pid
// namespace, and the kernel drops a signal for which that has no handler yet:
// so one that is asked to end right after its start is given the time to make
// it. One that makes none ends at the end of its grace.
func (p *process) Stop(ctx context.Context, kind plane.StopKind) error {
	if kind != plane.Soft || p.Running.Exit != nil {
		return p.Backend.Stop(ctx, kind)
	}
	sig := p.signal()
	for end := time.Now().Add(catchTime); !catches(p.Running.Pid, sig) && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	if sig == unix.SIGTERM {
		return p.Backend.Stop(ctx, kind)
	}
	if p.asked.Swap(true) {
		return nil
	}
	if err := p.send(sig); err != nil { // SIGTERM in its place; and the grace runs
		return p.Backend.Stop(ctx, kind)
	}
	return nil
}

// signal is by what it wants to be asked to end.
func (p *process) signal() unix.Signal {
	s, err := p.bundle().spec()
	if err != nil || s.Annotations[stopAnnotation] == "" {
		return unix.SIGTERM
	}
	if sig := line.Signal(s.Annotations[stopAnnotation]); sig > 0 && sig < 65 {
		return sig
	}
	return unix.SIGTERM
}

// send signals its first process, if that is still the one.
func (p *process) send(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.Running.Pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if m, id := p.Look(); !m.Alive(id) {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// catches reports whether a process catches a signal, or isn't there.
func catches(pid int, sig unix.Signal) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "SigCgt:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err != nil || mask&(1<<(sig-1)) != 0
		}
	}
	return true // a zombie has none
}
