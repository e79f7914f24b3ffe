package leaseclock

import (
	"fmt"

	"golang.org/x/sys/unix"

	"plane"
)

func read(id int32) plane.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(fmt.Sprintf("leaseclock: clock %d can't be read: %v", id, err))
	}
	return plane.Instant(ts.Nano())
}

// macOS counts CLOCK_MONOTONIC_RAW on in sleep, CLOCK_UPTIME_RAW not; neither
// is slewed.
func leaseNow() plane.Instant { return read(unix.CLOCK_MONOTONIC_RAW) }

func awakeNow() plane.Instant { return read(unix.CLOCK_UPTIME_RAW) }

// BootID names this run of the kernel.
func BootID() (string, error) {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return id, nil
}
