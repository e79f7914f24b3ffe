package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/store/sqlite"
)

func openBench(b *testing.B) *sqlite.DB {
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "plane.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}

// share runs do b.N times on that many goroutines and reports rate and latency.
func share(b *testing.B, clients int, do func(n int64) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	took := make([][]time.Duration, clients)
	b.ResetTimer()
	cpu := cpuTime(b)
	for c := range clients {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				began := time.Now()
				if err := do(n); err != nil {
					b.Error(err)
					return
				}
				took[c] = append(took[c], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

// cpuTime is what this process has used; on a busy machine it is steadier than rates.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var clients = []int{1, 16, 64}

func BenchmarkCreateKey(b *testing.B) {
	for _, n := range clients {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := openBench(b)
			share(b, n, func(n int64) error {
				k := store.Key{Key: plane.Key{Name: fmt.Sprint("doc-", n)}, Backend: plane.BackendID(fmt.Sprint("b", n)), Generation: 1}
				return db.Update(context.Background(), func(t store.Tx) error { return t.InsertKey(k) })
			})
		})
	}
}

// BenchmarkConnectNew writes all that a connect to a new key writes.
func BenchmarkConnectNew(b *testing.B) {
	for _, n := range clients {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := openBench(b)
			share(b, n, func(n int64) error {
				return db.Update(context.Background(), func(t store.Tx) error { return connectNew(t, n) })
			})
		})
	}
}

func connectNew(t store.Tx, n int64) error {
	g, err := t.NextGeneration()
	if err != nil {
		return err
	}
	id := plane.BackendID(fmt.Sprintf("b-%d", n))
	key := plane.Key{Name: fmt.Sprint("doc-", n)}
	if _, err := t.Key("", key.Name); err != store.ErrNotFound {
		return fmt.Errorf("key: %w", err)
	}
	if err := t.InsertKey(store.Key{Key: key, Backend: id, Generation: g}); err != nil {
		return err
	}
	b := store.Backend{
		ID: id, Key: key, Generation: g, Cluster: "localhost:9090", Drone: "dr-one", Policy: plane.Balanced, Epoch: 1,
		Spec:  plane.Spec{Executable: []byte(`{"command":["./server","--listen","127.0.0.1:0"],"env":{"A":"b"}}`)},
		State: plane.State{Status: plane.Scheduled},
	}
	if err := t.InsertBackend(b); err != nil {
		return err
	}
	if _, err := t.CountLive("dr-one"); err != nil {
		return err
	}
	a := store.Action{ID: fmt.Sprint("ak-", n), Drone: "dr-one", Backend: id, Kind: "spawn", Body: make([]byte, 400)}
	if err := t.InsertAction(a); err != nil {
		return err
	}
	return t.InsertEvent(store.Event{Kind: "connect", Key: key, Backend: id, Generation: g, Text: "started on dr-one"})
}

func BenchmarkReadKey(b *testing.B) {
	for _, n := range clients {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := openBench(b)
			fill(b, db)
			share(b, n, func(n int64) error {
				return db.View(context.Background(), func(t store.Tx) error {
					_, err := t.Key("", fmt.Sprint("doc-", n%1000))
					return err
				})
			})
		})
	}
}

func BenchmarkReadKeyAndBackend(b *testing.B) {
	for _, n := range clients {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := openBench(b)
			fill(b, db)
			share(b, n, func(n int64) error {
				return db.View(context.Background(), func(t store.Tx) error {
					k, err := t.Key("", fmt.Sprint("doc-", n%1000))
					if err != nil {
						return err
					}
					_, err = t.Backend(k.Backend)
					return err
				})
			})
		})
	}
}

func fill(b *testing.B, db *sqlite.DB) {
	err := db.Update(context.Background(), func(t store.Tx) error {
		for n := range int64(1000) {
			if err := connectNew(t, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
