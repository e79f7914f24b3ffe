package oci

import (
	"testing"

	"plane"
	planeruntime "plane/internal/runtime"
	"plane/internal/runtime/runtimetest"
)

func TestRuntime(t *testing.T) {
	for _, launcher := range []string{"crun", "runc"} {
		t.Run(launcher, func(t *testing.T) {
			if _, err := find(launcher); err != nil {
				t.Skip(launcher + " is not installed")
			}
			runtimetest.Run(t, func(t *testing.T) runtimetest.Bed {
				g := newRig(t, func(o *Options) { o.Runtime = launcher })
				run := func(argv ...string) plane.Executable {
					return plane.Executable{Image: "test", Command: argv}
				}
				return runtimetest.Bed{
					Runtime: g.r,
					Clock:   leaseNow,
					Reopen: func() planeruntime.Runtime {
						g.r.Close()
						g.r = g.runtime()
						return g.r
					},
					Stays:    run("/server"),
					Stubborn: run("/server", "stubborn"),
					Ends:     run("/server", "exit", "3"),
					Lingers:  run("/server", "lingers"),
					Says:     "bye",
				}
			})
		})
	}
}
