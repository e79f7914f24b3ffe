package probe_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"plane/internal/runtime/oci"
)

func TestAMountCantBeExchanged(t *testing.T) {
	machine(t)
	base := t.TempDir()
	newOCI(t, func(o *oci.Options) { o.MountBase = base }).exchanges(base, 30)
}

// exchanges starts backends with a mount below a directory that another backend
// has, which exchanges it for a link all the time.
func (d *drone) exchanges(base string, times int) {
	d.t.Helper()
	outside, above := d.t.TempDir(), filepath.Join(base, "a")
	err := errors.Join(os.WriteFile(filepath.Join(outside, "secret"), nil, 0o644), os.Mkdir(above, 0o755),
		os.Mkdir(filepath.Join(above, "b"), 0o755), os.Symlink(outside, filepath.Join(above, "c")))
	if err != nil {
		d.t.Fatal(err)
	}
	var other sync.WaitGroup
	end := make(chan struct{})
	other.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(above, "b"), unix.AT_FDCWD, filepath.Join(above, "c"), unix.RENAME_EXCHANGE); err != nil {
				d.t.Error(err)
				return
			}
		}
	})
	ran := 0
	for range times {
		u := d.unit("steal", "/plane-data")
		u.Data, u.Executable.Mount = "", []byte(`"a/b"`)
		p, err := d.r.Start(d.Ctx(), u)
		if err != nil {
			continue // seen in time
		}
		if exit, err := p.Wait(d.Ctx()); err == nil && exit.Code != nil && *exit.Code == 0 {
			ran++
		}
	}
	close(end)
	other.Wait()
	if _, err := os.Stat(filepath.Join(outside, "stolen")); err == nil {
		d.t.Error("a backend was given a directory outside of the mount base")
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), d.home.Run) {
		d.t.Errorf("mounts are left:\n%s", mounts)
	}
	if ran == 0 {
		d.t.Error("none has run")
	}
}
