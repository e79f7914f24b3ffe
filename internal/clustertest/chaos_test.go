package clustertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"plane/internal/clustertest/overlap"
)

func soak() bool { return os.Getenv("PLANE_SOAK") != "" }

// TestChaos: whatever is killed, stopped and restarted while callers ask for 50
// keys, no key runs twice, nothing is orphaned, no row is a ghost, and what
// callers saw is linearizable.
func TestChaos(t *testing.T) {
	length := 20 * time.Second
	if soak() {
		length = 2 * time.Minute
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	startCity(t, 2).chaos(length, seed, 50)
}

// chaos for so long, in which at least so many backends must be started and visited.
func (c *city) chaos(length time.Duration, seed uint64, least int64, more ...func(context.Context, *rand.Rand, *counts)) {
	t := c.t
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var wg sync.WaitGroup
	var did counts
	for i, trouble := range more {
		wg.Go(func() { trouble(ctx, rand.New(rand.NewPCG(seed, uint64(200+i))), &did) })
	}
	for i := range 12 {
		wg.Go(func() { c.callers(ctx, rand.New(rand.NewPCG(seed, uint64(i))), &did) })
	}
	wg.Go(func() { c.troubleDrones(ctx, rand.New(rand.NewPCG(seed, 100)), &did) })
	wg.Go(func() { c.troubleController(ctx, rand.New(rand.NewPCG(seed, 101)), &did) })
	wg.Go(func() { c.troubleBackends(ctx, rand.New(rand.NewPCG(seed, 102)), &did) })
	wg.Wait()

	last := ""
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if last = c.mismatch(); last == "" || time.Now().After(end) {
			break
		}
	}
	if last != "" {
		t.Errorf("30 s after the end rows and processes differ:\n%s", last)
	}
	c.clashes()
	if err := c.history.Check(30 * time.Second); err != nil {
		t.Error(err)
	}
	t.Logf("%s; %d processes; %d answers", &did, len(c.lives.Lives()), c.history.Len())
	for text, n := range did.why {
		t.Logf("%d connects failed: %s", n, text)
	}
	if did.spawned.Load() < least || did.visits.Load() < least || did.kills.Load() < 5 || did.stops.Load() == 0 {
		t.Errorf("too little happened to show anything: %s", &did)
	}
	c.works()
}

// works: after all of it every key can be reached.
func (c *city) works() {
	c.t.Helper()
	ctx := context.WithoutCancel(c.t.Context())
	for i := range c.keys {
		key, lease := chaosKey(i)
		var last error
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			got, err := c.connect(ctx, key, lease)
			if err == nil {
				err = c.visit(ctx, key, got)
			}
			if last = err; err == nil || time.Now().After(end) {
				break
			}
		}
		if last != nil {
			c.t.Fatalf("%s can't be reached: %v\nproxy:\n%s\ncontroller:\n%s", key, last, tail(c.ProxyPart), tail(c.Controller))
		}
	}
	c.clashes()
}

// tail is the last of what a part said.
func tail(p *Part) string {
	const most = 8000
	said := p.Stderr()
	return said[max(0, len(said)-most):]
}

// counts of what happened.
type counts struct {
	connects, spawned, failed, visits, terminates, kills, stops atomic.Int64

	mu  sync.Mutex     // guards the fields below
	why map[string]int // of failures
}

func (c *counts) fail(err error) {
	c.failed.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.why = map[string]int{}
	}
	text := err.Error()
	if _, after, ok := strings.Cut(text, "/ctrl/connect"); ok {
		text = after
	}
	c.why[text[:min(len(text), 150)]]++
}

func (c *counts) String() string {
	return fmt.Sprintf("%d connects (%d started one, %d failed), %d visits, %d terminates, %d kills, %d stops",
		c.connects.Load(), c.spawned.Load(), c.failed.Load(), c.visits.Load(), c.terminates.Load(), c.kills.Load(), c.stops.Load())
}

const chaosKeys = 50

// chaosKey names key i. Every third one can be taken over within ten seconds.
func chaosKey(i int) (key, lease string) {
	if i%3 == 0 {
		return fmt.Sprintf("key-%d", i), "fast"
	}
	return fmt.Sprintf("key-%d", i), "balanced"
}

// pause waits, or reports that the time is over.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func between(r *rand.Rand, a, b time.Duration) time.Duration {
	return a + time.Duration(r.Int64N(int64(b-a)))
}

// callers do what callers do.
func (c *city) callers(ctx context.Context, r *rand.Rand, did *counts) {
	for pause(ctx, between(r, 0, 120*time.Millisecond)) {
		key, lease := chaosKey(r.IntN(c.keys))
		did.connects.Add(1)
		got, err := c.connect(ctx, key, lease)
		if err != nil {
			did.fail(err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		if got.Spawned {
			did.spawned.Add(1)
		}
		switch r.IntN(8) {
		case 0:
			did.terminates.Add(1)
			terminate(c.API, got.BackendID)
		case 1, 2, 3, 4:
			if c.visit(ctx, key, got) == nil {
				did.visits.Add(1)
			}
		case 5:
			_, _ = c.rows()
		}
	}
}

// troubleDrones kills or stops one of agent, warden and reaper of one drone at
// a time, and waits until it is back.
func (c *city) troubleDrones(ctx context.Context, r *rand.Rand, did *counts) {
	for round := 0; pause(ctx, between(r, 100*time.Millisecond, time.Second)); round++ {
		i := r.IntN(len(c.drones))
		switch part := r.IntN(3); {
		case round == 1: // long enough for fast leases to lapse
			c.stop(ctx, c.drones[i].Pid(), 10*time.Second, did)
		case part == 0 && r.IntN(2) == 0:
			c.drones[i].Kill()
			did.kills.Add(1)
			pause(ctx, between(r, 0, 2*time.Second))
			c.drones[i].Restart()
		case part == 0:
			c.stop(ctx, c.drones[i].Pid(), between(r, 50*time.Millisecond, 3*time.Second), did)
		default:
			c.executioner(ctx, r, c.homes[i], []string{"warden", "reaper"}[part-1], did)
		}
	}
}

func (c *city) executioner(ctx context.Context, r *rand.Rand, home, part string, did *counts) {
	pid := LockHolder(home, part)
	if pid == 0 {
		return
	}
	if r.IntN(2) == 0 {
		c.stop(ctx, pid, between(r, 50*time.Millisecond, 3*time.Second), did)
		return
	}
	if syscall.Kill(pid, syscall.SIGKILL) != nil {
		return
	}
	did.kills.Add(1)
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if now := LockHolder(home, part); now != 0 && now != pid {
			return
		}
		if time.Now().After(end) {
			c.t.Errorf("no new %s within 15 s of %s's death in %s", part, part, filepath.Base(home))
			return
		}
	}
}

// stop is SIGSTOP for a while. The process always goes on.
func (c *city) stop(ctx context.Context, pid int, d time.Duration, did *counts) {
	if syscall.Kill(pid, syscall.SIGSTOP) != nil {
		return
	}
	did.stops.Add(1)
	pause(ctx, d)
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

func (c *city) troubleController(ctx context.Context, r *rand.Rand, did *counts) {
	for pause(ctx, between(r, time.Second, 6*time.Second)) {
		if r.IntN(2) == 0 {
			c.stop(ctx, c.Controller.Pid(), between(r, 50*time.Millisecond, 3*time.Second), did)
			continue
		}
		c.Controller.Kill()
		did.kills.Add(1)
		pause(ctx, between(r, 0, 2*time.Second))
		c.Controller.Restart()
	}
}

func (c *city) troubleBackends(ctx context.Context, r *rand.Rand, did *counts) {
	for pause(ctx, between(r, 50*time.Millisecond, 400*time.Millisecond)) {
		running := overlap.Running(c.lives.Lives())
		if len(running) == 0 {
			continue
		}
		pid := running[r.IntN(len(running))].Pid
		if r.IntN(3) == 0 {
			c.stop(ctx, pid, between(r, 10*time.Millisecond, time.Second), did)
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		did.kills.Add(1)
	}
}

// TestARushOnANewKeyStartsOneBackend: 500 connects at once.
func TestARushOnANewKeyStartsOneBackend(t *testing.T) {
	rounds := 5
	if soak() {
		rounds = 100
	}
	c := startCity(t, 2)
	for round := range rounds {
		key := fmt.Sprintf("rush-%d", round)
		only := c.rush(key)
		var mine []overlap.Life
		hash := overlap.KeyHash("", key)
		await(t, 20*time.Second, key+" lives", func() bool {
			mine = nil
			for _, l := range c.lives.Lives() {
				if l.Key == hash && l.Role == overlap.Parent {
					mine = append(mine, l)
				}
			}
			return len(mine) > 0
		})
		if len(mine) != 1 {
			t.Fatalf("round %d: %d backends were run: %v", round, len(mine), mine)
		}
		terminate(c.API, only)
	}
	c.clashes()
	if err := c.history.Check(30 * time.Second); err != nil {
		t.Error(err)
	}
}

// rush lets 500 callers ask for key at once and returns the one backend.
func (c *city) rush(key string) string {
	c.t.Helper()
	const callers = 500
	var mu sync.Mutex
	seen, spawned, failed := map[string]int{}, 0, map[string]int{}
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			<-begin
			got, err := c.connect(c.t.Context(), key, "balanced")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[err.Error()]++
				return
			}
			seen[got.BackendID]++
			if got.Spawned {
				spawned++
			}
		})
	}
	close(begin)
	wg.Wait()
	for text, n := range failed {
		c.t.Errorf("%s: %d of %d callers: %s", key, n, callers, text)
	}
	if len(seen) != 1 || spawned != 1 {
		c.t.Fatalf("%s: %d callers were given %d backends, %d of them as started by their call", key, callers, len(seen), spawned)
	}
	for id := range seen {
		return id
	}
	return ""
}
