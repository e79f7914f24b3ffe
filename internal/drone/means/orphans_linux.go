package means

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func becomeSubreaper() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// Run reaps until ctx is done.
func (o *Orphans) Run(ctx context.Context) error {
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	defer signal.Stop(child)
	for {
		o.sweep()
		select {
		case <-ctx.Done():
			return nil
		case <-child:
		case <-o.kick:
		}
	}
}

// sweep reaps zombies that nobody waits for. The kernel shows one at a time:
// if that is one of our own, the others' turn comes after Reaped.
func (o *Orphans) sweep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.starting == 0 {
		info, err := waitid(unix.P_ALL, 0)
		if err != nil {
			return
		}
		pid := pidOf(info)
		if pid == 0 || o.own[pid] {
			return
		}
		reap(pid)
	}
}
