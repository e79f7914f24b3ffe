package clustertest

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"plane/internal/image/imagetest"
)

// Sockets of containers stay open through the death of every part but their proxy.
func TestTrap50_SessionsOfContainersOutliveEveryOtherPart(t *testing.T) {
	t.Parallel()
	// Without it an engine ends its containers when it is started again.
	eachRuntime(t, func(y *yard) {
		t := y.t
		a := startApart(t, WithAdmin{}, OfDrone{Runtimes: "process," + y.runtime, Env: y.env()})
		home := a.DataDir + "/drone"
		t.Cleanup(func() { endExecutioners(home) })
		var urls []string
		for _, key := range []string{"one", "two"} {
			c, err := connectBody(a.API, map[string]any{
				"key":          map[string]string{"name": key},
				"spawn_config": map[string]any{"executable": map[string]any{"image": y.server(), "runtime": y.runtime}},
				"wait":         "ready",
			})
			if err != nil {
				t.Fatal(err)
			}
			urls = append(urls, c.URL)
		}
		s := openSockets(t, a.Proxy, urls)
		s.echo("at first")
		before := ListBackends(t, a.API)

		a.Controller.Kill()
		s.echo("controller dead")
		a.Controller.Restart()
		a.AwaitHealth(t)
		a.Drone.Kill()
		s.echo("agent dead")
		if y.engine != nil {
			y.engine.Kill9(t)
			s.echo("agent and engine dead")
		}
		a.Drone.Restart()
		a.AwaitDrone(t)
		for _, part := range []string{"warden", "reaper"} {
			pid := LockHolder(home, part)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatalf("kill %s: %v", part, err)
			}
			s.echo(part + " dead")
			await(t, 30*time.Second, part+" back", func() bool {
				p := LockHolder(home, part)
				return p != 0 && p != pid
			})
			a.AwaitDrone(t) // one at a time
			s.echo(part + " back")
		}
		if y.engine != nil {
			y.engine.Restart(t)
		}
		a.AwaitDrone(t)
		s.echo("all back")
		ready := map[string]bool{}
		await(t, 30*time.Second, "the same two are ready", func() bool {
			clear(ready)
			for _, b := range ListBackends(t, a.API) {
				ready[b.BackendID] = b.Status == "ready"
			}
			for _, b := range before {
				if b.Key.Name != "probe" && !ready[b.BackendID] {
					return false
				}
			}
			return true
		})
		for _, b := range ListBackends(t, a.API) {
			terminate(a.API, b.BackendID)
		}
		await(t, 30*time.Second, "all have ended", func() bool { return len(ListBackends(t, a.API)) == 0 })
		y.leavesNothing(home)
	}, "--live-restore")
}

// One drone has what runs commands and images: each app says which it wants.
func TestAppsOfOneDroneHaveRuntimesOfTheirOwn(t *testing.T) {
	t.Parallel()
	y := newYard(t, "docker")
	newYard(t, "oci") // or skipped
	image := y.server()
	y.runtime = "" // whichever an app names
	d := y.dev(planeYAML([]string{"fast", "engine", "either", "command"},
		map[string]any{"image": image, "runtime": "oci", "data": "keep"},
		map[string]any{"image": image, "runtime": "docker"},
		map[string]any{"image": image},
		map[string]any{"command": []string{Build(t).Echo}},
	))
	running := map[string]string{}
	for _, name := range []string{"fast", "engine", "either", "command"} {
		key := "doc--" + name
		d.served(key, "/")
		running[name] = y.launcherOf(t, d, name)
	}
	for name, want := range map[string]string{"fast": "oci", "engine": "docker", "either": "oci", "command": "process"} {
		if running[name] != want {
			t.Errorf("%s is run by %s, want %s", name, running[name], want)
		}
	}

	// plane dev is killed: the next one finds all of them.
	before := d.Backends()
	open := map[string]string{"fast": d.served("doc--fast", "/"), "engine": d.served("doc--engine", "/")}
	d.served("doc--fast", "/write?path=/plane-data/kept&bytes=3")
	d.Kill()
	d.Restart()
	d.AwaitListening()
	for name, said := range open {
		if got := d.served("doc--"+name, "/"); got != said {
			t.Errorf("%s was %q, is %q", name, said, got)
		}
	}
	if after := d.Backends(); len(after) != len(before) {
		t.Errorf("%d backends, want %d", len(after), len(before))
	}
}

// launcherOf tells by the processes of an app's one backend what runs it.
func (y *yard) launcherOf(t *testing.T, d *Dev, app string) string {
	t.Helper()
	var found struct {
		Backends []struct {
			ID string `json:"backend_id"`
		}
	}
	d.ctrl("/ctrl/backends?app="+app, &found)
	if len(found.Backends) != 1 {
		t.Fatalf("%s has %d backends", app, len(found.Backends))
	}
	pids := marked(t, found.Backends[0].ID)
	if len(pids) == 0 {
		t.Fatalf("%s has no process", app)
	}
	own, _ := os.Readlink("/proc/self/ns/pid")
	at := filepath.Join("/proc", strconv.Itoa(pids[0]))
	if its, _ := os.Readlink(at + "/ns/pid"); its == own {
		return "process"
	}
	mine, _ := os.Readlink("/proc/self/ns/user")
	if its, _ := os.Readlink(at + "/ns/user"); its == mine {
		return "docker"
	}
	return "oci"
}

// What only the local engine has is found there, by oci too, and followed when a
// build gives the name to another image.
func TestAnImageThatWasBuiltHereNeedsNoRegistry(t *testing.T) {
	t.Parallel()
	for _, runtime := range []string{"oci", "docker"} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, "docker")
			newYard(t, runtime)
			y.runtime = runtime
			y.engine.Load(t, imagetest.ServerImage(t), "built-here:latest")
			d := y.dev(nil, "--image", "built-here")
			d.served("doc", "/")
			y.engine.Load(t, imagetest.ServerImage(t, "says", "another build", "1"), "built-here:latest")
			d.served("doc", "/") // it runs on
			d.says("stop", "doc", "--hard")
			d.served("doc", "/")
			d.event("what the next build says", func(e Event) bool { return e.Event == "output" && e.Output == "another build" })
		})
	}
}
