package leasesim

import (
	"flag"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

var seeds = flag.Int("seeds", 0, "seeds to simulate with all rules (0 = a few hundred)")

// sweep runs seeds until stop says so and returns the sum and the number of bad seeds.
func sweep(n int, config Config, enough int) (sum Result, bad []uint64) {
	var mu sync.Mutex
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				seed := next.Add(1)
				if seed > uint64(n) {
					return
				}
				r := Run(seed, config)
				mu.Lock()
				sum.Starts += r.Starts
				sum.Takeovers += r.Takeovers
				sum.Refused += r.Refused
				sum.Joins += r.Joins
				sum.Failovers += r.Failovers
				sum.Adopted += r.Adopted
				sum.Events += r.Events
				sum.Overlaps += r.Overlaps
				if r.Overlaps > 0 {
					bad = append(bad, seed)
				}
				done := enough > 0 && len(bad) >= enough
				mu.Unlock()
				if done {
					return
				}
			}
		})
	}
	wg.Wait()
	return sum, bad
}

func TestAllRulesGiveNoOverlap(t *testing.T) {
	n := *seeds
	if n == 0 {
		n = 300
	}
	for _, config := range []Config{{}, {Calm: true}} {
		sum, bad := sweep(n, config, 1)
		t.Logf("%d seeds, calm=%v: %+v", n, config.Calm, sum)
		if len(bad) > 0 {
			config.KeepNotes = true
			for _, line := range Run(bad[0], config).Notes {
				t.Log(line)
			}
			t.Fatalf("seed %d: two backends of one key ran at once", bad[0])
		}
		if sum.Starts < 10*n || sum.Takeovers < n || sum.Refused < n || sum.Joins < n || !config.Calm && sum.Adopted == 0 {
			t.Fatalf("the runs were too quiet to show anything: %+v", sum)
		}
	}
}

func TestEveryRuleIsNeeded(t *testing.T) {
	n := *seeds
	enough := 0
	if n == 0 {
		n, enough = 400, 1
	}
	for _, without := range append(Rules(), RefuseLate|Tombstones) {
		t.Run(without.String(), func(t *testing.T) {
			sum, bad := sweep(n, Config{Without: without}, enough)
			t.Logf("%d bad seeds, %d starts", len(bad), sum.Starts)
			if len(bad) == 0 {
				t.Errorf("without %q no run of %d had an overlap", without, n)
			}
		})
	}
}
