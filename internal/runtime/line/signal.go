package line

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Signal reads a signal as images name it: a number, or a name with or without
// SIG; 0 = none.
func Signal(s string) unix.Signal {
	if n, err := strconv.Atoi(s); err == nil {
		return unix.Signal(n)
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n, ok := distance(name, "RTMIN+"); ok {
		return unix.Signal(firstRealTime + n)
	}
	if n, ok := distance(name, "RTMAX-"); ok {
		return unix.Signal(lastRealTime - n)
	}
	return unix.SignalNum("SIG" + name)
}

func distance(name, from string) (n int, ok bool) {
	text, ok := strings.CutPrefix(name, from)
	n, err := strconv.Atoi(text)
	return n, ok && err == nil && n >= 0 && n <= lastRealTime-firstRealTime
}

// Signals by a distance, such as SIGRTMIN+3, which systemd ends by. The C library
// keeps the first two for itself.
const (
	firstRealTime = 34
	lastRealTime  = 64
)
