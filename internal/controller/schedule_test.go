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
	command := need{executable: plane.Executable{Command: []string{"./serve"}}, byCaller: true}
	image := need{executable: plane.Executable{Image: "redis:7"}}
	asking := func(n need, runtime string) need { n.executable.RuntimeName = runtime; return n }
	has := func(runtimes ...string) func(*candidate) { return func(c *candidate) { c.runtimes = runtimes } }
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
		{"pool", []candidate{drone("dr-a"), drone("dr-b", func(c *candidate) { c.pool = "gpu" })}, need{executable: command.executable, pool: "gpu"}, "dr-b", ""},
		{"no image", []candidate{drone("dr-a")}, image, "", plane.UnsupportedExecutable},
		{"image", []candidate{drone("dr-a"), drone("dr-b", has("docker"))}, image, "dr-b", ""},
		{"image, by another runtime", []candidate{drone("dr-a"), drone("dr-b", has("oci"))}, image, "dr-b", ""},
		{"the runtime asked for", []candidate{drone("dr-a", has("docker")), drone("dr-b", has("docker", "oci"))}, asking(image, "oci"), "dr-b", ""},
		{"not another one", []candidate{drone("dr-a", has("docker"))}, asking(image, "oci"), "", plane.UnsupportedExecutable},
		{"callers' commands", []candidate{drone("dr-a", func(c *candidate) { c.commands = false })}, command, "", plane.UnsupportedExecutable},
		{"apps' commands", []candidate{drone("dr-a", func(c *candidate) { c.commands = false })}, need{executable: command.executable}, "dr-a", ""},
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

func TestWhatNoDroneRunsIsToldWithWhatTheyHave(t *testing.T) {
	command, image := plane.Executable{Command: []string{"./serve"}}, plane.Executable{Image: "redis:7"}
	asking := func(x plane.Executable, runtime string) plane.Executable { x.RuntimeName = runtime; return x }
	no := map[string]string{"oci": "Neither crun nor runc is installed.", "docker": "No engine answers at unix:///run/docker.sock."}
	drone := func(runtimes ...string) candidate {
		return candidate{name: "dr-a", runtimes: runtimes, ready: true, commands: len(runtimes) != 1 || runtimes[0] != "process"}
	}
	lacking := drone("process")
	lacking.lacks = no
	alike := drone("process")
	alike.lacks = map[string]string{"oci": "Nobody asked.", "docker": "Nobody asked."}
	for _, c := range []struct {
		name  string
		has   candidate
		x     plane.Executable
		field string
		want  string
	}{
		{"no runtime for images", drone("process"), image, "", "No drone has a runtime for an image (docker or oci); the drones have: process."},
		{"and why", lacking, image, "", "No drone has a runtime for an image (docker or oci); the drones have: process. " +
			"dr-a can't offer docker. No engine answers at unix:///run/docker.sock. dr-a can't offer oci. Neither crun nor runc is installed."},
		{"one cause of both", alike, image, "", "No drone has a runtime for an image (docker or oci); the drones have: process. dr-a can't offer docker and oci. Nobody asked."},
		{"none of that name", drone("docker", "process"), asking(image, "oci"), ".runtime", "No drone has the runtime oci; the drones have: docker, process. " +
			"Leave runtime out to take what there is."},
		{"none of that name, nor another", lacking, asking(image, "oci"), ".runtime", "No drone has the runtime oci; the drones have: process. dr-a can't offer oci. Neither crun nor runc is installed."},
		{"no runtime for commands", drone("docker"), command, "", "No drone has a runtime for a command (process); the drones have: docker."},
		{"no commands of callers", drone("process"), command, "", "No drone runs commands that callers name; define an app, or start a drone with --allow-commands."},
		{"nothing at all", drone(), image, "", "No drone has a runtime for an image (docker or oci); the drones have: none."},
	} {
		_, _, err := choose([]candidate{c.has}, need{executable: c.x, byCaller: c.x.Image == ""}, 2, nil, nil)
		if err == nil || err.Kind != plane.UnsupportedExecutable || err.Message != c.want || err.Field != "spawn_config.executable"+c.field {
			t.Errorf("%s: %+v", c.name, err)
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
