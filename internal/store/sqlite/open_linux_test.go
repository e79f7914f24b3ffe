package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"plane/internal/store"
)

func TestOpenWithoutPermission(t *testing.T) {
	dir, err := os.MkdirTemp("", "plane-store")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "plane.db")
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		if _, err := Open(context.Background(), path, Options{}); !errors.Is(err, ErrPermission) {
			t.Errorf("error %v, want ErrPermission", err)
		}
		return
	}
	// root may write everywhere, so someone else tries.
	exe := filepath.Join(dir, "test")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, "open", path)
	cmd.Path, cmd.Dir = exe, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "no permission") || !strings.Contains(string(out), "choose another data directory") {
		t.Errorf("%q (%v), want no permission and what to do", out, err)
	}
}

func TestAFullDiskIsSaidAndLeft(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	db, err := Open(context.Background(), filepath.Join(dir, "plane.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	big := strings.Repeat("x", 64<<10)
	n := 0
	for ; n < 100 && err == nil; n++ {
		err = db.Update(context.Background(), func(tx store.Tx) error { return tx.SetMeta(fmt.Sprint(n), big) })
	}
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "free some space") {
		t.Fatalf("after %d rows of 64 KiB: %v, want ErrDiskFull", n, err)
	}
	// What was acknowledged is there, and the store works once there is room.
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(context.Background(), insertKey("a")); err != nil {
		t.Errorf("with room again: %v", err)
	}
	err = db.View(context.Background(), func(tx store.Tx) error {
		for i := range n - 1 {
			if v, err := tx.Meta(fmt.Sprint(i)); err != nil || v != big {
				return fmt.Errorf("row %d: %d bytes, %w", i, len(v), err)
			}
		}
		_, err := tx.Meta(fmt.Sprint(n - 1))
		if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("the row that failed: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
