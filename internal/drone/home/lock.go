package home

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// ErrInUse is what errors.Is finds in the error of a lock that is held.
var ErrInUse = errors.New("in use")

// InUse says who holds a lock.
type InUse struct {
	Dir  string
	Part string
	Pid  int // 0 = unknown
}

// Error is a sentence for people.
func (e *InUse) Error() string {
	who := "another process"
	if e.Pid != 0 {
		who = "process " + strconv.Itoa(e.Pid)
	}
	if e.Part == "agent" {
		return fmt.Sprintf("data directory in use: %s is held by %s; stop it or choose another --data-dir", e.Dir, who)
	}
	return fmt.Sprintf("the %s of %s already runs as %s", e.Part, e.Dir, who)
}

// Is makes errors.Is(err, ErrInUse) true.
func (e *InUse) Is(target error) bool { return target == ErrInUse }

// Lock is held until Release or the end of the process, however it ends.
// Programs that the process starts don't inherit it.
type Lock struct{ f *os.File }

// Release gives the lock back. It may be called twice.
func (l *Lock) Release() {
	if l != nil && l.f != nil {
		_ = l.f.Truncate(0) // so that nobody is told of a pid that is gone
		_ = l.f.Close()
		l.f = nil
	}
}

// LockAgent makes this process the one agent of the data directory. The error
// is an *InUse if there is one.
func (h Home) LockAgent() (*Lock, error) { return h.lock("agent") }

// LockReaper makes this process the one reaper.
func (h Home) LockReaper() (*Lock, error) { return h.lock("reaper") }

// LockWarden makes this process the one warden.
func (h Home) LockWarden() (*Lock, error) { return h.lock("warden") }

func (h Home) lock(part string) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(h.Dir, part+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	// Holder locks for some microseconds, which must not look like a second part.
	for end := time.Now().Add(50 * time.Millisecond); errors.Is(err, syscall.EWOULDBLOCK) && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
		err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return nil, &InUse{Dir: h.Dir, Part: part, Pid: holder(f)}
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	return &Lock{f}, nil
}

// Holder reports whether part ("agent", "warden", "reaper") runs, and its pid,
// 0 if it is unknown.
func (h Home) Holder(part string) (pid int, held bool) {
	f, err := os.Open(filepath.Join(h.Dir, part+".lock"))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if flock(f, syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0, false
	}
	return holder(f), true
}

func holder(f *os.File) int {
	buf := make([]byte, 16)
	n, _ := f.ReadAt(buf, 0)
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(buf[:n])))
	return pid
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
