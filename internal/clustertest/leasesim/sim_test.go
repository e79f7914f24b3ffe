package leasesim

import (
	"flag"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var seeds = flag.Int("seeds", 0, "seeds to simulate, with all rules and without each (0 = a few hundred, and until one is bad)")

func TestMain(m *testing.M) {
	debug.SetGCPercent(800) // runs are short and make much garbage
	m.Run()
}

// sweep runs n seeds from the first, or until enough are bad (0 = all), and
// returns the sum and the bad seeds.
func sweep(first, n int, config Config, enough int) (sum Result, bad []uint64) {
	var mu sync.Mutex
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := int(taken.Add(1)) - 1
				if i >= n {
					return
				}
				seed := uint64(first + i)
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
	slices.Sort(bad)
	return sum, bad
}

func TestAllRulesGiveNoOverlap(t *testing.T) {
	n := *seeds
	switch {
	case n != 0:
	case raced:
		n = 20
	default:
		n = 240
	}
	for name, config := range map[string]Config{"with failovers": {}, "without failovers": {Calm: true}} {
		t.Run(name, func(t *testing.T) {
			sum, bad := sweep(1, n, config, 1)
			t.Logf("%d seeds: %+v", n, sum)
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
		})
	}
}

// Seeds at which the lack of a rule was seen, so that the search begins where
// it will soon end. It goes on from there if they are no longer bad.
var lacking = map[Rule]int{
	RefuseLate: 18, OwnAttempt: 2, FromSend: 13, LeaseClock: 3, JoinConditional: 6, JoinLatest: 29, LapseRecorded: 174,
	SpawnStoreEpoch: 11, DatabaseClock: 4, TombstoneUntilHeard: 64, GrantWithAction: 18,
}

func TestEveryRuleIsNeeded(t *testing.T) {
	for _, without := range append(Rules(), RefuseLate|Tombstones) {
		t.Run(without.String(), func(t *testing.T) {
			first, n, enough := max(1, lacking[without]), 600, 1
			if *seeds != 0 {
				first, n, enough = 1, *seeds, 0
			}
			sum, bad := sweep(first, n, Config{Without: without}, enough)
			if len(bad) == 0 {
				t.Fatalf("without %q none of %d runs had an overlap", without, n)
			}
			t.Logf("%d bad seeds of %d, first %d; %d starts", len(bad), n, bad[0], sum.Starts)
		})
	}
}

func TestARunIsItsSeed(t *testing.T) {
	for seed := range uint64(3) {
		config := Config{Length: 5 * time.Minute, KeepNotes: true}
		a, b := Run(seed, config), Run(seed, config)
		if a.Events != b.Events || a.Starts != b.Starts || !slices.Equal(a.Notes, b.Notes) {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}
