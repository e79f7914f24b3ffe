package controller

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
)

func TestChoose(t *testing.T) {
	first := func(int) int { return 0 }
	load := func(n plane.NodeName) int { return map[plane.NodeName]int{"dr-a": 5, "dr-b": 1, "dr-c": 0}[n] }
	drone := func(name plane.NodeName, change ...func(*candidate)) candidate {
		c := candidate{name: name, runtimes: []string{"process"}, commands: true, ready: true}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	command := need{runtime: "process", byCaller: true}
	for _, c := range []struct {
		name string
		all  []candidate
		need need
		want plane.NodeName
		err  plane.Kind
	}{
		{"none", nil, command, "", plane.NoDroneAvailable},
		{"one", []candidate{drone("dr-a")}, command, "dr-a", ""},
		{"best of two drawn", []candidate{drone("dr-a"), drone("dr-b"), drone("dr-c")}, command, "dr-b", ""},
		{"draining", []candidate{drone("dr-a"), drone("dr-b", func(c *candidate) { c.draining = true })}, command, "dr-a", ""},
		{"not heard", []candidate{drone("dr-a"), drone("dr-b", func(c *candidate) { c.ready = false })}, command, "dr-a", ""},
		{"pool", []candidate{drone("dr-a"), drone("dr-b", func(c *candidate) { c.pool = "gpu" })}, need{runtime: "process", pool: "gpu"}, "dr-b", ""},
		{"no image", []candidate{drone("dr-a")}, need{runtime: "image"}, "", plane.UnsupportedExecutable},
		{"image", []candidate{drone("dr-a"), drone("dr-b", func(c *candidate) { c.runtimes = []string{"docker"} })}, need{runtime: "image"}, "dr-b", ""},
		{"callers' commands", []candidate{drone("dr-a", func(c *candidate) { c.commands = false })}, command, "", plane.UnsupportedExecutable},
		{"apps' commands", []candidate{drone("dr-a", func(c *candidate) { c.commands = false })}, need{runtime: "process"}, "dr-a", ""},
	} {
		got, why, err := choose(c.all, c.need, 2, first, load)
		switch {
		case c.err != "":
			if err == nil || err.Kind != c.err {
				t.Errorf("%s: %v, want %s", c.name, err, c.err)
			}
		case err != nil || got != c.want || !strings.Contains(why, string(c.want)):
			t.Errorf("%s: %s (%q), %v; want %s", c.name, got, why, err, c.want)
		}
	}
}

// Many connect to one key while others end its backends: nobody is handed one
// whose end had been asked for before they came, remembered keys or not.
func TestNobodyGetsABackendWhoseEndWasAskedFor(t *testing.T) {
	p := newPlant(t, plantOptions{})
	p.drone("dr-1")
	var mu sync.Mutex
	condemned := map[plane.BackendID]bool{}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	rounds := 0
	for range 6 {
		wg.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				before := make(map[plane.BackendID]bool, len(condemned))
				for id := range condemned {
					before[id] = true
				}
				mu.Unlock()
				got, err := p.Connect(ctx, operatorActor, keyed("doc"))
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				if before[got.BackendID] {
					t.Errorf("%s was handed out after its end had been asked for", got.BackendID)
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			got, err := p.Connect(ctx, operatorActor, keyed("doc"))
			if err != nil {
				return
			}
			if err := p.Terminate(t.Context(), operatorActor, got.BackendID, plane.Soft); err != nil {
				t.Error(err)
			}
			mu.Lock()
			condemned[got.BackendID] = true
			rounds++
			mu.Unlock()
		}
	})
	wg.Wait()
	if rounds < 3 {
		t.Errorf("only %d rounds", rounds)
	}
}
