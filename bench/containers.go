package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"plane/internal/dockertest"
)

// way is one of the ways to a running program.
type way struct {
	name  string
	pool  string // "" = the engine used directly
	times int    // starts per round; more of what is quick
	start func(key string) (time.Duration, func() error, error)

	alone times                   // one at a time, all else at rest
	rates map[int]*measuredStarts // by clients
}

// measuredStarts are starts by several clients.
type measuredStarts struct {
	each times
	took time.Duration
	cpu  time.Duration // of the drone and of what it started
}

func (f *fleet) ways(e *engineAPI) []*way {
	plane := func(name, pool string, times int) *way {
		return &way{name: name, pool: pool, times: times, start: func(key string) (time.Duration, func() error, error) { return f.start(pool, key) }}
	}
	direct := func(name string, start func() (time.Duration, func() error, error)) *way {
		return &way{name: name, times: 1, start: func(string) (time.Duration, func() error, error) { return start() }}
	}
	all := []*way{
		plane("process", "process", 5),
		plane("oci, crun", "crun", 5),
		plane("oci, runc", "runc", 2),
		plane("oci, prepared", "prepared", 5),
		plane(ours, "docker", 1),
		direct("Engine API directly: published port, look every 100 ms", e.published),
		direct(sameNetwork, e.inside),
	}
	return slices.DeleteFunc(all, func(w *way) bool { return !strings.Contains(w.name, wanted) })
}

// rateRounds is how often the rates of all are measured in turn.
const rateRounds = 2

const (
	sameNetwork = "Engine API directly: network none, dial inside"
	ours        = "docker"
)

// median is that of a way, 0 if it wasn't measured.
func median(ways []*way, name string) time.Duration {
	for _, w := range ways {
		if w.name == name {
			return w.alone.at(.5)
		}
	}
	return 0
}

// benchContainers compares connect → first byte of the runtimes with each other
// and with the Docker engine used directly, in alternating rounds of one run.
func benchContainers(s *session) (string, error) {
	if missing := dockertest.Missing(); missing != "" {
		return "## Containers\n\nNot measured: " + missing + " is missing here.\n", nil
	}
	f, err := s.startFleet()
	if err != nil {
		return "", err
	}
	e, err := f.engineAPI()
	if err != nil {
		return "", err
	}
	rest := func() error { return firstError(f.settle(), e.clear(s)) }
	if err := rest(); err != nil {
		return "", err
	}
	ways := f.ways(e)
	began := load1()
	for round := range rounds + 1 {
		progress("round %d", round)
		for _, w := range ways {
			for range w.times {
				if err := w.once(rest, round > 0); err != nil {
					return "", fmt.Errorf("%s: %w", w.name, err)
				}
			}
		}
	}
	for range rateRounds {
		for _, w := range ways {
			for _, clients := range []int{1, 4} {
				progress("rate of %s, %d at a time", w.name, clients)
				if err := w.rate(f, clients, rest); err != nil {
					return "", fmt.Errorf("%s: %w", w.name, err)
				}
			}
		}
	}
	return table(ways, began), nil
}

var keys atomic.Int64

func newKey() string { return fmt.Sprintf("k-%d", keys.Add(1)) }

// once starts one when nothing else runs, and waits until nothing does again.
func (w *way) once(rest func() error, counts bool) error {
	took, stop, err := w.start(newKey())
	if stop != nil {
		err = firstError(err, stop())
	}
	if err != nil {
		return err
	}
	progress("%s %s", w.name, ms(took))
	if counts {
		w.alone = append(w.alone, took)
	}
	return rest()
}

// rate has clients start, reach and stop, one after another each.
func (w *way) rate(f *fleet, clients int, rest func() error) error {
	if w.rates == nil {
		w.rates = map[int]*measuredStarts{}
	}
	m := w.rates[clients]
	if m == nil {
		m = &measuredStarts{}
		w.rates[clients] = m
	}
	bursts, total := 1, 8
	switch {
	case w.pool == "prepared":
		bursts, total = 4, preparedCount // as many as wait
	case w.times > 1:
		total = 40
	}
	cpu := f.cpu(w.pool)
	defer func() { m.cpu += f.cpu(w.pool) - cpu }()
	for range bursts {
		if err := w.burst(clients, total, m); err != nil {
			return err
		}
		if err := rest(); err != nil {
			return err
		}
	}
	return nil
}

func (w *way) burst(clients, total int, m *measuredStarts) error {
	var next atomic.Int64
	var mu sync.Mutex
	var failed error
	var wg sync.WaitGroup
	begin := time.Now()
	for range clients {
		wg.Go(func() {
			for next.Add(1) <= int64(total) {
				took, stop, err := w.start(newKey())
				if stop != nil {
					err = firstError(err, stop())
				}
				mu.Lock()
				m.each = append(m.each, took)
				if err != nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	m.took += time.Since(begin)
	return failed
}

func (m *measuredStarts) perSecond() float64 { return float64(len(m.each)) / m.took.Seconds() }

func (m *measuredStarts) cpuEach() string {
	if m.cpu == 0 {
		return "" // the engine's own isn't seen
	}
	return ms(m.cpu / time.Duration(len(m.each)))
}

func table(ways []*way, began string) string {
	var b strings.Builder
	base := median(ways, sameNetwork)
	fmt.Fprintf(&b, "## Containers: connect → first byte of a new key, one at a time\n\n| | starts | p50 ms | p90 ms | p99 ms | × Engine API, same network |\n|---|---|---|---|---|---|\n")
	for _, w := range ways {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %.2f |\n", w.name, len(w.alone), ms(w.alone.at(.5)), ms(w.alone.at(.9)), ms(w.alone.at(.99)), float64(w.alone.at(.5))/float64(base))
	}
	fmt.Fprintf(&b, "\nDocker beyond the Engine API with the same network: %s ms p50 (goal: ≤ 20). Goals: crun ≤ 25 ms p50, ≤ 60 ms p99; prepared ≤ 6 ms p50, ≤ 20 ms p99. "+
		"p99 of few starts is their maximum. Load before: %s.\n", ms(median(ways, ours)-base), began)
	b.WriteString("\n### Starts per second: connect, first byte, stop\n\n| | at a time | starts/s | p50 ms | p99 ms | CPU ms each |\n|---|---|---|---|---|---|\n")
	for _, w := range ways {
		for _, clients := range []int{1, 4} {
			m := w.rates[clients]
			fmt.Fprintf(&b, "| %s | %d | %.1f | %s | %s | %s |\n", w.name, clients, m.perSecond(), ms(m.each.at(.5)), ms(m.each.at(.99)), m.cpuEach())
		}
	}
	fmt.Fprintf(&b, "\nCPU is that of the drone's parts and of what they started (of a prepared sandbox, that of preparing the next too), stop included; not controller's, proxy's, nor a Docker engine's. Prepared sandboxes come in bursts of %d, as many as wait. The existing system: 4.9 starts/s, p99 4.5 s at 4 at a time. Goal: crun ≥ 100 starts/s.\n", preparedCount)
	return b.String()
}

// load1 is the machine's load of the last minute.
func load1() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
