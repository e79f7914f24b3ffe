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

// space is the number of a process's pid namespace, 0 without process.
func space(pid string) uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/"+pid+"/ns/pid", &st) != nil {
		return 0
	}
	return st.Ino
}

// contained are the pids that the processes of other pid namespaces have here.
func contained(own uint64) map[inside]int {
	all := map[inside]int{}
	dir, err := os.ReadDir("/proc")
	if err != nil {
		return all
	}
	for _, d := range dir {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		in := space(d.Name())
		if in == 0 || in == own {
			continue
		}
		f := stat(pid)
		if len(f) <= 19 || string(f[0]) == "Z" {
			continue
		}
		status, _ := os.ReadFile("/proc/" + d.Name() + "/status")
		_, rest, _ := bytes.Cut(status, []byte("\nNSpid:"))
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		names := bytes.Fields(line)
		if len(names) == 0 {
			continue
		}
		there, _ := strconv.Atoi(string(names[len(names)-1]))
		all[inside{in, there, born(pid)}] = pid
	}
	return all
}
