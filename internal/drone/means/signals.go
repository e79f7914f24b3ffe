package means

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Deaf keeps signals that are meant for a terminal's programs from ending this
// process, until restore is called. They are caught, not ignored: an ignored
// signal would stay ignored in every program that is started from here, also
// where the starter of this process had ignored it.
func Deaf() (restore func()) {
	never := make(chan os.Signal, 1)
	all := []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGPIPE}
	for _, s := range []os.Signal{unix.SIGQUIT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGUSR1, unix.SIGUSR2} {
		if signal.Ignored(s) {
			all = append(all, s)
		}
	}
	signal.Notify(never, all...)
	return func() { signal.Stop(never) }
}
