package docker_test

import (
	"testing"

	"plane"
	"plane/internal/runtime"
	"plane/internal/runtime/runtimetest"
)

func TestRuntime(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Bed {
		g := newRig(t)
		does := func(args ...string) plane.Executable {
			return plane.Executable{Image: "server", Command: append([]string{"/server"}, args...)}
		}
		return runtimetest.Bed{
			Runtime: g.r,
			Clock:   leaseNow,
			Reopen: func() runtime.Runtime {
				g.r.Close()
				r := g.runtime()
				t.Cleanup(r.Close)
				return r
			},
			Stays:    does("sleep"),
			Stubborn: does("stubborn", "sleep"),
			Ends:     does("say", "bye", "exit", "3"),
			Lingers:  does("say", "bye", "stubborn", "sleep"),
			Says:     "bye",
		}
	})
}
