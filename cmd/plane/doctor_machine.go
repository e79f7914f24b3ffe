package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"plane/internal/drone/leaseclock"
	"plane/internal/store"
	"plane/internal/store/sqlite"
)

const (
	clockLook   = 150 * time.Millisecond // how long the clocks are compared
	clockMost   = 5 * time.Millisecond   // that they may differ by within it
	clockFuture = 2 * time.Second        // that the store's newest time may be ahead
)

// clock compares the clock of deadlines with the wall clock, and that with what
// the store was written with.
func (d doctor) clock(ctx context.Context) finding {
	const check = "clock"
	if ahead := d.ahead(ctx); ahead > clockFuture {
		return warned(check, fmt.Sprintf("The store has times that lie %s in the future: the wall clock was set back.", age(ahead)),
			"Set the clock right; leases don't depend on it, but histories are out of order until then.")
	}
	wall, deadline := time.Now().Round(0), leaseclock.Lease().Now() // without its monotonic part
	select {
	case <-ctx.Done():
	case <-time.After(clockLook):
	}
	passed := leaseclock.Lease().Now().Sub(deadline)
	step := time.Now().Round(0).Sub(wall) - passed
	if math.Abs(float64(step)) > float64(clockMost) {
		return warned(check, fmt.Sprintf("The wall clock moved by %s while %s passed: it is being set.", step.Round(time.Millisecond), passed.Round(time.Millisecond)),
			"Wait until it is right; see that only one program sets it.")
	}
	suspended := leaseclock.Lease().Now().Sub(leaseclock.Awake().Now())
	if unsynchronised() {
		return fine(check, "Wall clock and clock of deadlines run alike; no time service is known to set the former.")
	}
	return fine(check, "Wall clock and clock of deadlines run alike; %s of this boot in suspend.", age(suspended))
}

// ahead is how far the newest time in the store lies in the future.
func (d doctor) ahead(ctx context.Context) time.Duration {
	var newest time.Time
	_ = sqlite.Read(ctx, d.db, func(tx store.Tx) error { // what can't be read is the store's finding
		drones, err := tx.Drones("")
		for _, x := range drones {
			if x.RenewedAt.After(newest) {
				newest = x.RenewedAt
			}
		}
		if last, err := tx.LastEvent(); err == nil {
			events, _ := tx.Events(last-1, 1)
			for _, e := range events {
				if e.At.After(newest) {
					newest = e.At
				}
			}
		}
		return err
	})
	return time.Until(newest)
}

// limits is how many files this user's processes may have open.
func (d doctor) limits() finding {
	const check = "files"
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return warned(check, fmt.Sprintf("The limit on open files can't be read: %v.", err), "Look with ulimit -n.")
	}
	most := uint64(l.Max)
	need := uint64(filesBase + filesPerBackend*d.maxBackends)
	if most < need {
		return warned(check, fmt.Sprintf("A process may open %d files; for %s with their connections it should be %d.", most, plural(d.maxBackends, "backend"), need),
			fmt.Sprintf("Raise it (ulimit -Hn %d, or LimitNOFILE= in a unit), or give --max-backends %d.", need, max(1, (int(most)-filesBase)/filesPerBackend)))
	}
	return fine(check, "A process may open %d files; %s need about %d.", most, plural(d.maxBackends, "backend"), need)
}

const (
	filesBase       = 200
	filesPerBackend = 12 // socket, output, doors, and some connections each
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroups is by what backends are held and limited.
func (d doctor) cgroups() finding {
	return lookAtCgroups(cgroupRoot, filepath.Base(d.dir)).finding()
}

func (c cgroupLook) finding() finding {
	const check = "cgroups"
	switch {
	case c.version == "":
		return warned(check, "There are none here: backends are held by session, group and a marker, and have no limits.", "Nothing need be done, unless an app has resource_limits; those need Linux, with cgroup2 mounted at /sys/fs/cgroup.")
	case c.version == "v1":
		return warned(check, "The system has cgroups of version 1 only: backends are held by session, group and a marker, and have no limits.",
			"Mount version 2 beside them, be it without controllers: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified.")
	case !c.writable:
		return warned(check, fmt.Sprintf("The system has cgroups %s and this user may not make any: backends have no limits.", c.version),
			"Run as root, or under systemd with Delegate=yes, if an app has resource_limits.")
	case len(c.missing) > 0:
		return warned(check, fmt.Sprintf("Backends are held by cgroups %s, and can't be limited in %s.", c.version, join(c.missing)),
			"Let the system give those controllers to this user if an app has such limits.")
	}
	return fine(check, "Backends are held and limited by cgroups %s.", c.version)
}

// cgroupLook is what the system offers.
type cgroupLook struct {
	version  string // v2, v1, "v2 (limits by v1)"; "" = none
	writable bool
	missing  []string // of memory, cpu, pids
}

func join(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		s := words[0]
		for _, w := range words[1 : n-1] {
			s += ", " + w
		}
		return s + " and " + words[n-1]
	}
}
