package leaseclock

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"plane"
)

func read(id int32) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(fmt.Sprintf("leaseclock: clock %d can't be read: %v", id, err))
	}
	return ts.Nano()
}

func awakeNow() plane.Instant { return plane.Instant(read(unix.CLOCK_MONOTONIC)) }

// leaseNow is RAW + (BOOTTIME − MONOTONIC): RAW isn't slewed, the difference is
// the time spent in suspend. The readings that lay closest together are taken,
// because a pause between them would be counted as suspend.
func leaseNow() plane.Instant {
	best, suspended := int64(1<<62), int64(0)
	for range 8 {
		before := read(unix.CLOCK_MONOTONIC)
		boot := read(unix.CLOCK_BOOTTIME)
		after := read(unix.CLOCK_MONOTONIC)
		if d := after - before; d < best {
			best, suspended = d, boot-before-d/2
		}
		if best < 5000 {
			break
		}
	}
	return plane.Instant(read(unix.CLOCK_MONOTONIC_RAW) + suspended)
}

// BootID names this run of the kernel.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
