package overlap

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func bootTime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // every kernel that Go runs on has it
	}
	return t.Nano()
}

// stat gives the fields of /proc/PID/stat from the third on, nil without process.
func stat(pid int) [][]byte {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	return bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
}

// born is the process's start time in ticks since boot: with the pid it names
// one process.
func born(pid int) uint64 {
	if f := stat(pid); len(f) > 19 {
		n, _ := strconv.ParseUint(string(f[19]), 10, 64)
		return n
	}
	return 0
}

func exists(pid int, at uint64) bool {
	f := stat(pid)
	return len(f) > 19 && string(f[0]) != "Z" && string(f[19]) == strconv.FormatUint(at, 10)
}
