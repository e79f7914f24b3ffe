package oci

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	planeruntime "plane/internal/runtime"
)

// A sandbox sees the machine's own /dev/null and its like, which it can't have
// of its own. Whoever they belong to can close them for all of the machine.
func TestTheMachinesDevicesAreNoSandboxes(t *testing.T) {
	needs(t)
	if os.Getenv(ownNull) == "" {
		withOwnNull(t)
		return
	}
	for _, launcher := range []string{"crun", "runc"} {
		t.Run(launcher, func(t *testing.T) {
			g := newRig(t, func(o *Options) { o.Runtime = launcher })
			mine := func(when string) {
				t.Helper()
				for _, device := range []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"} {
					st, err := os.Stat(device)
					if err != nil {
						t.Fatal(err)
					}
					if uid := st.Sys().(*syscall.Stat_t).Uid; uid != 0 {
						t.Errorf("%s: %s belongs to %d", when, device, uid)
					}
				}
			}
			says(t, g.run(g.unit("/server", "show", "chmod:/dev/null", "chmod:/dev/zero")),
				"chmod:/dev/null chmod /dev/null: operation not permitted", "chmod:/dev/zero chmod /dev/zero: operation not permitted")
			mine("after a start")
			p := g.start(g.unit())
			for _, c := range []planeruntime.Command{{}, {TTY: true, Stdout: io.Discard}} {
				c.Argv = []string{"/server", "exit", "0"}
				if code, err := p.Exec(g.Ctx(), c); err != nil || code != 0 {
					t.Errorf("exec: %d, %v", code, err)
				}
				mine("after a command")
			}
		})
	}
}

// ownNull, in the environment, says that /dev/null is this process's alone.
const ownNull = "PLANE_TEST_OWN_NULL"

// withOwnNull runs this test in a process that has a /dev/null of its own:
// others' tests, maybe of older builds, use the machine's.
func withOwnNull(t *testing.T) {
	t.Helper()
	null := filepath.Join(t.TempDir(), "null")
	if err := errors.Join(unix.Mknod(null, unix.S_IFCHR, int(unix.Mkdev(1, 3))), os.Chmod(null, 0o666)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", `mount --bind "$0" /dev/null && exec "$@"`,
		null, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), ownNull+"=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
