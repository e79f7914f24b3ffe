package flight_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"plane/internal/flight"
)

type group = flight.Group[string, int, string]

func every(string) bool { return true }

func TestItIsDoneOnceForAllAndAllAreToldHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		begun, goOn := 0, make(chan struct{})
		work := func(_ context.Context, tell func(string)) (int, error) {
			begun++
			tell("half")
			<-goOn
			tell("all")
			return 7, errors.New("so")
		}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				var heard []string
				v, err := g.Do(t.Context(), "key", func(p string) { heard = append(heard, p) }, work)
				if v != 7 || err == nil || err.Error() != "so" || heard[0] != "half" || heard[len(heard)-1] != "all" {
					t.Errorf("%d, %v, heard %v", v, err, heard)
				}
			})
		}
		synctest.Wait()
		if n := g.Waiting(every); n != 5 || begun != 1 {
			t.Errorf("%d wait, begun %d times", n, begun)
		}
		close(goOn)
		all.Wait()
		if v, _ := g.Do(t.Context(), "key", func(string) {}, work); v != 7 || begun != 2 || g.Waiting(every) != 0 {
			t.Errorf("asked later: %d, begun %d times", v, begun)
		}
	})
}

func TestItEndsWithTheLastWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g group
		ended := false
		work := func(ctx context.Context, _ func(string)) (int, error) {
			<-ctx.Done()
			ended = true
			return 0, ctx.Err()
		}
		first, leave := context.WithCancel(t.Context())
		second, leaveToo := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for _, ctx := range []context.Context{first, second} {
			all.Go(func() {
				if _, err := g.Do(ctx, "key", func(string) {}, work); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if ctx == second && !ended {
					t.Error("the last returns before the work has ended")
				}
			})
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		if ended {
			t.Error("it ends with the first")
		}
		leaveToo()
		all.Wait()
		if !ended || g.Waiting(every) != 0 {
			t.Error("it goes on")
		}
	})
}
