package home_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plane"
	"plane/internal/drone/home"
)

func TestSocketsFitWhateverTheDirectory(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	id := plane.BackendID(strings.Repeat("a", plane.MaxNameLength))
	for _, dir := range []string{
		filepath.Join(t.TempDir(), "d"),
		filepath.Join(t.TempDir(), strings.Repeat("long", 40)),
	} {
		h, err := home.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(h.Run) })
		if n := len(h.BackendSocket(id)); n > 100 {
			t.Errorf("%s: a socket has %d bytes", dir, n)
		}
		t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
		again, err := home.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		if again != h {
			t.Errorf("another environment finds %+v, not %+v", again, h)
		}
	}
}

func TestDirectoryOfOthersIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "output"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "output"), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := home.New(dir); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("got %v", err)
	}
}

func TestLockIsHeldOnceAndNamesItsHolder(t *testing.T) {
	h, err := home.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, held := h.Holder("agent"); held {
		t.Fatal("held before anyone took it")
	}
	l, err := h.LockAgent()
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.LockAgent()
	var in *home.InUse
	if !errors.Is(err, home.ErrInUse) || !errors.As(err, &in) || in.Pid != os.Getpid() {
		t.Fatalf("second lock: %v", err)
	}
	if !strings.Contains(err.Error(), "data directory in use") {
		t.Errorf("no sentence: %v", err)
	}
	if pid, held := h.Holder("agent"); !held || pid != os.Getpid() {
		t.Errorf("holder %d %v", pid, held)
	}
	l.Release()
	l.Release()
	if l, err = h.LockAgent(); err != nil {
		t.Fatal(err)
	}
	l.Release()
}
