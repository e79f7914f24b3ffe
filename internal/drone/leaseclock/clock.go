// Package leaseclock reads the clocks on which deadlines are compared. They
// can't be set, so a step of the wall clock moves no deadline.
package leaseclock

import (
	"fmt"

	"plane"
)

// Clock tells the current instant. All parts of one drone use the same kind,
// which stands in the table of deadlines. Safe for concurrent use.
type Clock interface {
	Now() plane.Instant
}

// Kind names a clock.
type Kind uint32

// The kinds. KindLease runs on while the machine is suspended and is not slewed
// by NTP: another machine may take a key over meanwhile. KindAwake stands still
// during suspend: for a store and its only drone on one kernel, where nobody
// can take over while the lid is closed.
const (
	KindAwake Kind = 1
	KindLease Kind = 2
)

// String is the kind's name on a command line.
func (k Kind) String() string {
	switch k {
	case KindAwake:
		return "awake"
	case KindLease:
		return "lease"
	}
	return fmt.Sprintf("clock kind %d", uint32(k))
}

// ParseKind is the inverse of Kind.String.
func ParseKind(s string) (Kind, error) {
	switch s {
	case "awake":
		return KindAwake, nil
	case "lease":
		return KindLease, nil
	}
	return 0, fmt.Errorf("clock %q: use awake or lease", s)
}

// Of gives the clock of a kind, or an error for an unknown one.
func Of(k Kind) (Clock, error) {
	switch k {
	case KindAwake:
		return Awake(), nil
	case KindLease:
		return Lease(), nil
	}
	return nil, fmt.Errorf("unknown %v", k)
}

// Lease is the clock that runs on in suspend.
func Lease() Clock { return clock(leaseNow) }

// Awake is the clock that stands still in suspend.
func Awake() Clock { return clock(awakeNow) }

type clock func() plane.Instant

func (c clock) Now() plane.Instant { return c() }
