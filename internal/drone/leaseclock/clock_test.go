package leaseclock_test

import (
	"testing"
	"time"

	"plane/internal/drone/leaseclock"
)

func TestClocksRunForwardsAtTheRateOfTime(t *testing.T) {
	for _, k := range []leaseclock.Kind{leaseclock.KindAwake, leaseclock.KindLease} {
		c, err := leaseclock.Of(k)
		if err != nil {
			t.Fatal(err)
		}
		from, began := c.Now(), time.Now()
		last := from
		for time.Since(began) < 50*time.Millisecond {
			now := c.Now()
			if now < last-20_000 { // the share of suspend is known to a few µs
				t.Fatalf("%v went back by %d ns", k, last-now)
			}
			last = now
		}
		d, e := c.Now().Sub(from), time.Since(began)
		if d < e-10*time.Millisecond || d > e+10*time.Millisecond {
			t.Errorf("%v: %v passed in %v", k, d, e)
		}
		if back, err := leaseclock.ParseKind(k.String()); err != nil || back != k {
			t.Errorf("%v is read back as %v, %v", k, back, err)
		}
	}
}

func TestBootIDStays(t *testing.T) {
	a, err := leaseclock.BootID()
	if err != nil || a == "" {
		t.Fatalf("%q, %v", a, err)
	}
	if b, _ := leaseclock.BootID(); b != a {
		t.Errorf("%q then %q", a, b)
	}
}

// A clock whose readings are times since boot can't be set, by a step of the
// wall clock or otherwise; one that shows the time of day can.
func TestTrap09_NoClockIsTheWallClock(t *testing.T) {
	for _, k := range []leaseclock.Kind{leaseclock.KindAwake, leaseclock.KindLease} {
		c, err := leaseclock.Of(k)
		if err != nil {
			t.Fatal(err)
		}
		const tenYears = 10 * 365 * 24 * time.Hour
		if up := time.Duration(c.Now()); up < 0 || up > tenYears {
			t.Errorf("%v reads %v: that is no time since boot", k, up)
		}
	}
}
