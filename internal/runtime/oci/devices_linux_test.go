package oci

import (
	"io"
	"os"
	"syscall"
	"testing"

	planeruntime "plane/internal/runtime"
)

// A sandbox sees the machine's own /dev/null and its like, which it can't have
// of its own. Whoever they belong to can close them for all of the machine.
func TestTheMachinesDevicesAreNoSandboxes(t *testing.T) {
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
			if err := os.Chown("/dev/null", 0, 0); err != nil { // whatever others have done
				t.Fatal(err)
			}
			says(t, g.run(g.unit("/server", "show", "chmod:/dev/null", "chmod:/dev/zero")),
				"chmod:/dev/null chmod /dev/null: operation not permitted", "chmod:/dev/zero chmod /dev/zero: operation not permitted")
			mine("after a start")
			p := g.start(g.unit())
			for _, c := range []planeruntime.Command{{}, {TTY: true, Stdout: io.Discard}} {
				c.Argv = []string{"/server", "exit", "0"}
				if code, err := p.Exec(g.ctx(), c); err != nil || code != 0 {
					t.Errorf("exec: %d, %v", code, err)
				}
				mine("after a command")
			}
		})
	}
}
