package runtimetest_test

import (
	"testing"
	"time"

	"plane"
	"plane/internal/runtime"
	"plane/internal/runtime/fake"
	"plane/internal/runtime/runtimetest"
)

func TestFake(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Bed {
		began := time.Now()
		clock := func() plane.Instant { return plane.Instant(time.Since(began)) + 1 }
		r := &fake.Runtime{Clock: clock, Program: func(u runtime.Unit) fake.Program {
			switch u.Executable.Command[0] {
			case "ends":
				return fake.Program{ExitAfter: time.Millisecond, ExitCode: 3}
			case "stubborn":
				return fake.Program{IgnoreTerm: true}
			}
			return fake.Program{}
		}}
		t.Cleanup(r.Close)
		return runtimetest.Bed{
			Runtime: r, Clock: clock, Reopen: func() runtime.Runtime { return r },
			Stays:    plane.Executable{Command: []string{"stays"}},
			Stubborn: plane.Executable{Command: []string{"stubborn"}},
			Ends:     plane.Executable{Command: []string{"ends"}},
		}
	})
}
