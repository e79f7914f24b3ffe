package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"plane/internal/clustertest"
)

// benchConnect measures connects over HTTP from a load generator on the same
// CPUs: to one live key, and to keys that are new, whose programs end at once.
func benchConnect(s *session) (string, error) {
	d := s.dev()
	echo := clustertest.Build(s).Echo
	if _, err := s.connect(d.API, "live", echo); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("## Connects per second over HTTP\n\n| | clients | connects/s | p50 ms | p99 ms | CPU µs each |\n|---|---|---|---|---|---|\n")
	live, err := json.Marshal(map[string]any{"key": map[string]string{"name": "live"}})
	if err != nil {
		return "", err
	}
	for _, clients := range []int{1, 16, 64} {
		line, err := s.connectLoad(d.API, d.Pid(), clients, 2*time.Second, func(int64) []byte { return live })
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "| live key | %s\n", line)
	}
	fresh, err := newKeyCluster(s)
	if err != nil {
		return "", err
	}
	for _, clients := range []int{1, 16, 64} {
		line, err := s.connectLoad(fresh, os.Getpid(), clients, 2*time.Second, func(n int64) []byte {
			return fmt.Appendf(nil, `{"key":{"name":"new-%d-%d"},"spawn_config":{"executable":{"command":["/bin/true"]}}}`, clients, n)
		})
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "| new key (recorded only) | %s\n", line)
	}
	b.WriteString("\nGoals: CPU is that of the serving process; for new keys the load generator is in it. Goals: live ≥ 20k/s at 16 and 64 clients, p50 ≤ 0.25 ms at 1 client, ≤ 45 µs each; new ≥ 6k/s at 64 clients.\n")
	return b.String(), nil
}

func (s *session) connectLoad(api string, pid, clients int, length time.Duration, body func(n int64) []byte) (string, error) {
	var n atomic.Int64
	var mu sync.Mutex
	var all times
	var failed error
	var wg sync.WaitGroup
	cpu := cpuTime(pid)
	end := time.Now().Add(length)
	for range clients {
		wg.Go(func() {
			var mine times
			for time.Now().Before(end) {
				at := time.Now()
				if _, err := s.connectBody(api, body(n.Add(1))); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				mine = append(mine, time.Since(at))
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	if failed != nil {
		return "", failed
	}
	each := float64(cpuTime(pid)-cpu) / float64(len(all)) / 1e3
	return fmt.Sprintf("%d | %.0f | %s | %s | %.0f |", clients, float64(len(all))/length.Seconds(), ms(all.at(.5)), ms(all.at(.99)), each), nil
}

// cpuTime is the user and system time of a process, to 10 ms.
func cpuTime(pid int) time.Duration { return statTime(pid, 11) }

// cpuTimeOfEnded is that of its children that it has waited for, and of theirs.
func cpuTimeOfEnded(pid int) time.Duration { return statTime(pid, 13) }

// statTime adds the user and the system time that begin at a field.
func statTime(pid, field int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	if len(f) < field+2 {
		return 0
	}
	user, _ := strconv.Atoi(f[field])
	system, _ := strconv.Atoi(f[field+1])
	return time.Duration(user+system) * 10 * time.Millisecond
}
