package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"plane/internal/clustertest"
)

// benchRate starts new keys from several clients at once; a backend is
// stopped as soon as it has answered.
func benchRate(s *session) (string, error) {
	d := s.dev()
	echo := clustertest.Build(s).Echo
	var b strings.Builder
	b.WriteString("## Starts per second (connect, first byte, stop)\n\n| clients | raw fork/exec starts/s | Plane starts/s | p50 ms | p99 ms | p99 / p50 | CPU ms each: plane dev, warden, reaper |\n|---|---|---|---|---|---|---|\n")
	for _, clients := range []int{1, 4, 16} {
		const total = 800
		raw, err := rawRate(s, echo, clients, total/2)
		if err != nil {
			return "", err
		}
		var next atomic.Int64
		var mu sync.Mutex
		var all times
		var failed error
		var wg sync.WaitGroup
		pids := []int{d.Pid(), d.LockHolder("warden"), d.LockHolder("reaper")}
		before := cpuTimes(pids)
		begin := time.Now()
		for range clients {
			wg.Go(func() {
				for {
					n := next.Add(1)
					if n > total {
						return
					}
					at := time.Now()
					c, err := s.connect(d.API, fmt.Sprintf("rate-%d-%d", clients, n), echo)
					if err == nil {
						err = s.get(d.Proxy, c.URL)
					}
					took := time.Since(at)
					if err == nil {
						err = s.terminate(d.API, c.BackendID)
					}
					mu.Lock()
					all = append(all, took)
					if err != nil {
						failed = err
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		took := time.Since(begin)
		if failed != nil {
			return "", failed
		}
		fmt.Fprintf(&b, "| %d | %.0f | %.0f | %s | %s | %.1f | %s |\n", clients, raw, total/took.Seconds(), ms(all.at(.5)), ms(all.at(.99)), float64(all.at(.99))/float64(all.at(.5)), cpuEach(before, cpuTimes(pids), total))
		if err := s.drained(d, 0); err != nil {
			return "", err
		}
	}
	b.WriteString("\nGoals: ≥ 300 starts/s at 4 and 16 clients, p99 ≤ 5 × p50.\n")
	return b.String(), nil
}

func cpuTimes(pids []int) []time.Duration {
	var out []time.Duration
	for _, pid := range pids {
		out = append(out, cpuTime(pid))
	}
	return out
}

func cpuEach(before, after []time.Duration, n int) string {
	var out []string
	for i := range before {
		out = append(out, fmt.Sprintf("%.1f", float64(after[i]-before[i])/float64(n)/float64(time.Millisecond)))
	}
	return strings.Join(out, ", ")
}

// rawRate starts the program itself as often, as fast as so many clients can.
func rawRate(s *session, program string, clients, total int) (float64, error) {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	begin := time.Now()
	for range clients {
		wg.Go(func() {
			for next.Add(1) <= int64(total) {
				if _, err := rawStart(s, program); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(total) / time.Since(begin).Seconds(), nil
}
