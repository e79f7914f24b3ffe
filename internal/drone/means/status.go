package means

import (
	"golang.org/x/sys/unix"

	"plane"
)

// exited and signalled make the Exit of a process.
func exited(code int) plane.Exit { return plane.Exit{Code: &code} }

func signalled(sig int) plane.Exit {
	code := 128 + sig
	return plane.Exit{Code: &code, Signal: unix.SignalName(unix.Signal(sig))}
}

// ofWait reads a status as wait gives it.
func ofWait(status int) plane.Exit {
	if sig := status & 0x7f; sig != 0 {
		return signalled(sig)
	}
	return exited(status >> 8 & 0xff)
}
