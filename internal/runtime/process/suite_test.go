package process_test

import (
	"testing"

	"plane"
	"plane/internal/runtime"
	"plane/internal/runtime/runtimetest"
)

func TestRuntime(t *testing.T) {
	for _, kind := range []string{"best", "portable"} {
		t.Run(kind, func(t *testing.T) {
			t.Setenv("PLANE_MEANS", kind)
			runtimetest.Run(t, func(t *testing.T) runtimetest.Bed {
				g := newRig(t)
				sh := func(script string) plane.Executable {
					return plane.Executable{Command: []string{"/bin/sh", "-c", script}}
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
					Stays:    sh("exec sleep 60"),
					Stubborn: sh("trap '' TERM; while :; do sleep 0.05; done"),
					Ends:     sh("echo bye; exit 3"),
					Lingers:  sh("trap '' TERM; echo bye; while :; do sleep 0.05; done"),
					Says:     "bye",
				}
			})
		})
	}
}
