package means

import (
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Aside runs f on a thread of its own, which ends with it: f may leave the
// process's namespaces, working directory and root. It is never the main
// thread, whose namespaces others take for the process's.
func Aside(f func() error) error {
	done := make(chan error, 1)
	go func() { // ends with f, for which we wait
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		done <- Aside(f) // another goroutine can't have this thread now
		runtime.UnlockOSThread()
	}()
	return <-done
}

// forkExec starts a program among the mounts of the namespace that is at the
// path mounts, "" = our own. The child has those of the thread that forks; an
// nsenter(1) between would take as long as all else that is done here.
func forkExec(mounts, path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	if mounts == "" {
		return syscall.ForkExec(path, argv, attr)
	}
	err = Aside(func() error {
		ns, err := unix.Open(mounts, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open mounts: %w", err)
		}
		defer unix.Close(ns)
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("enter mounts: %w", err)
		}
		if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter mounts: %w", err)
		}
		pid, err = syscall.ForkExec(path, argv, attr)
		return err
	})
	return pid, err
}
