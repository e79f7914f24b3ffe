package means

import "golang.org/x/sys/unix"

type signum = unix.Signal

const (
	sigKill = unix.SIGKILL
	sigTerm = unix.SIGTERM
	sigCont = unix.SIGCONT
)

func kill(pid int, sig signum) error { return unix.Kill(pid, sig) }
