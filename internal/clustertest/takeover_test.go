package clustertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"plane/internal/clustertest/overlap"
)

// A drone that falls silent loses its keys, but not before what runs there has
// ended: whoever of agent, warden and reaper is dead or stopped meanwhile.
func TestTrap49_ASilentDronesKeysMoveOnceTheirBackendsAreGone(t *testing.T) {
	for name, silence := range map[string]func(c *city, drone int){
		"agent killed": func(c *city, drone int) { c.drones[drone].Kill() },
		"agent stopped": func(c *city, drone int) {
			c.drones[drone].Signal(syscall.SIGSTOP)
		},
		"agent killed, warden stopped": func(c *city, drone int) {
			c.drones[drone].Kill()
			_ = syscall.Kill(LockHolder(c.homes[drone], "warden"), syscall.SIGSTOP)
		},
		"agent killed, reaper stopped": func(c *city, drone int) {
			c.drones[drone].Kill()
			_ = syscall.Kill(LockHolder(c.homes[drone], "reaper"), syscall.SIGSTOP)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			takeOver(t, silence)
		})
	}
}

func takeOver(t *testing.T, silence func(*city, int)) {
	const keys = 6
	c := startCity(t, 2)
	first := map[string]Connected{}
	for i := range keys {
		key := fmt.Sprintf("key-%d", i)
		got, err := c.connect(t.Context(), key, "fast")
		if err != nil {
			t.Fatal(err)
		}
		first[key] = got
		await(t, 20*time.Second, key+" answers", func() bool { return c.visit(t.Context(), key, got) == nil })
	}
	silent := c.droneOf(t, first["key-0"].BackendID)
	began := time.Now()
	silence(c, silent)
	moved := map[string]time.Duration{}
	await(t, 40*time.Second, "the silent drone's keys have moved", func() bool {
		for key, old := range first {
			if moved[key] != 0 {
				continue
			}
			got, err := c.connect(t.Context(), key, "fast")
			if err == nil && got.Generation != old.Generation {
				moved[key] = time.Since(began)
			}
		}
		return moved["key-0"] != 0
	})
	await(t, 20*time.Second, "the new generation lives", func() bool { return c.gap("key-0") > -time.Hour/2 })
	t.Logf("moved after %s; %s between the generations", moved["key-0"].Round(10*time.Millisecond), c.gap("key-0").Round(10*time.Millisecond))
	// The last renewal was at most 2 s before; 10 s is the goal, the rest is this machine's.
	if took := moved["key-0"]; took < 6*time.Second || took > 20*time.Second {
		t.Errorf("the key moved %s after its drone fell silent, want about 10 s", took)
	}
	c.clashes()
	if l := c.left(first["key-0"].Generation); len(l) > 0 {
		t.Errorf("the older generation still runs: %v", l)
	}

	if gap := c.gap("key-0"); gap < 500*time.Millisecond {
		t.Errorf("only %s lay between the generations; the figures leave 2.4 s", gap)
	}

	// Back again, the drone finds nothing of its own and is of use.
	for _, part := range []string{"warden", "reaper"} {
		if pid := LockHolder(c.homes[silent], part); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	if c.drones[silent].Signal(syscall.SIGCONT); !alive(c.drones[silent].Pid()) {
		c.drones[silent].Restart()
	}
	await(t, 30*time.Second, "the silent drone is back", func() bool { return c.readyDrones() == 2 })
	n := 0
	await(t, 30*time.Second, "the silent drone takes a start", func() bool {
		n++
		key := fmt.Sprintf("later-%d", n)
		got, err := c.connect(t.Context(), key, "fast")
		if err != nil || c.visit(t.Context(), key, got) != nil {
			return false
		}
		taken := c.droneOf(t, got.BackendID) == silent
		if !taken {
			terminate(c.API, got.BackendID)
		}
		return taken
	})
	last := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if last = c.mismatch(); last == "" {
			break
		}
	}
	if last != "" {
		t.Errorf("rows and processes differ:\n%s", last)
	}
	c.clashes()
	if err := c.history.Check(30 * time.Second); err != nil {
		t.Error(err)
	}
}

// droneOf is the number of the drone whose table holds the backend: the one
// whose directory knows the name that the API shows.
func (c *city) droneOf(t *testing.T, id string) int {
	t.Helper()
	var b struct{ Drone string }
	if err := c.get("/ctrl/b/"+id, &b); err != nil {
		t.Fatal(err)
	}
	for i, home := range c.homes {
		name, err := os.ReadFile(filepath.Join(home, "name"))
		if err == nil && strings.TrimSpace(string(name)) == b.Drone {
			return i
		}
	}
	t.Fatalf("backend %s is on %q, which isn't one of the drones", id, b.Drone)
	return 0
}

// gap is the time between the last sign of life of a key's first generation and
// the first one of its second; an hour less than nothing if there is none yet.
func (c *city) gap(key string) time.Duration {
	var older, newer int64
	var first int64
	lives := c.lives.Lives()
	for _, l := range lives {
		if l.Key == overlap.KeyHash("", key) && (first == 0 || l.Generation < first) {
			first = l.Generation
		}
	}
	for _, l := range lives {
		switch {
		case l.Key != overlap.KeyHash("", key):
		case l.Generation == first:
			older = max(older, l.Last)
		case newer == 0 || l.First < newer:
			newer = l.First
		}
	}
	if newer == 0 {
		return -time.Hour
	}
	return time.Duration(newer - older)
}

// left are the processes of a generation that still run.
func (c *city) left(generation int64) []overlap.Life {
	var left []overlap.Life
	for _, l := range overlap.Running(c.lives.Lives()) {
		if l.Generation == generation {
			left = append(left, l)
		}
	}
	return left
}
