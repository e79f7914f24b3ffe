package docker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/dockertest"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/warden"
	"plane/internal/image/imagetest"
	"plane/internal/runtime"
	"plane/internal/runtime/docker"
)

// TestMain makes this test's own program serve as reaper and warden.
func TestMain(m *testing.M) {
	dronetest.Parts(50 * time.Millisecond)
	os.Exit(engines.End(m.Run()))
}

// engines is the engine of all tests that have no need of another one. It knows
// another runtime by name.
var engines = dockertest.Shared{Options: dockertest.Options{Flags: []string{"--add-runtime", "crun=runc"}}}

// engine has the images "server" and "app".
func engine(t *testing.T) *dockertest.Engine {
	t.Helper()
	return engines.Engine(t, func(e *dockertest.Engine) {
		e.Load(t, image(t), "server:latest")
		e.Load(t, image(t, func(c *v1.Config) { c.User = "app"; c.StopSignal = "SIGUSR1" }), "app:latest")
	})
}

// rig is a drone without an agent: the test is the agent.
type rig struct {
	*dronetest.Rig
	t      *testing.T
	home   home.Home
	engine *dockertest.Engine
	r      *docker.Runtime
}

// units counts those of all rigs: engines are shared, and names of containers.
var units atomic.Int32

// newRig makes one with the engine of all.
func newRig(t *testing.T, change ...func(*docker.Options)) *rig {
	t.Helper()
	return newRigAt(t, engine(t), change...)
}

func newRigAt(t *testing.T, e *dockertest.Engine, change ...func(*docker.Options)) *rig {
	t.Helper()
	g := &rig{Rig: dronetest.New(t), t: t, engine: e}
	g.home = g.Home()
	g.r = g.runtime(change...)
	t.Cleanup(g.end)
	return g
}

func (g *rig) dial(ctx context.Context) (*warden.Client, error) {
	return dronetest.Dial(ctx, g.home)
}

func (g *rig) runtime(change ...func(*docker.Options)) *docker.Runtime {
	g.t.Helper()
	o := docker.Options{Home: g.home, Host: g.engine.Host, Dial: g.dial}
	for _, c := range change {
		c(&o)
	}
	r, err := docker.New(o)
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// end ends what runs, and looks that nothing is left.
func (g *rig) end() {
	g.r.Close()
	r := g.runtime()
	if _, watched := g.home.Holder("warden"); watched {
		g.End(r)
		if err := r.Prune(g.Ctx()); err != nil {
			g.t.Errorf("at the end: %v", err)
		}
		if left := g.containers("-aq"); left != "" {
			g.t.Errorf("containers are left: %s", g.containers("-a"))
		}
	}
	r.Close()
	g.Leave()
}

// containers is what `docker ps` says of ours.
func (g *rig) containers(args ...string) string {
	out, err := g.dockerSays(append([]string{"ps", "--no-trunc", "--filter", "label=dev.plane.drone=" + g.home.Hash()}, args...)...)
	if err != nil {
		return err.Error() + ": " + out
	}
	return out
}

// docker runs a command of the docker client.
func (g *rig) docker(args ...string) string {
	g.t.Helper()
	out, err := g.dockerSays(args...)
	if err != nil {
		g.t.Fatalf("docker %v: %s", args, out)
	}
	return out
}

func (g *rig) dockerSays(args ...string) (string, error) {
	out, err := exec.Command("docker", append([]string{"--host", g.engine.Host}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// leavings lists what starts may leave of this rig and its engine: whatever
// carries their directories, but for what the engine itself has lost.
func (g *rig) leavings() []string {
	var all []string
	for line := range strings.Lines(g.containers("-a")) {
		if !strings.HasPrefix(line, "CONTAINER ID") {
			all = append(all, "container "+line)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "-init/merged ") {
			continue // the engine was killed while it made a container, which it doesn't know
		}
		if f := strings.Fields(line); strings.Contains(line, g.engine.Dir()+"/") || strings.Contains(line, g.home.Dir) {
			all = append(all, "mount "+f[4])
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + filepath.Base(g.engine.Dir()) + "/*/", g.engine.Dir() + "/exec/containerd/io.containerd.runtime.v2.task/moby/*", g.home.DoorDir("*")} {
		found, _ := filepath.Glob(pattern)
		all = append(all, found...)
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		if strings.Contains(string(line), "containerd-shim") && strings.Contains(string(line), g.engine.Dir()) || strings.Contains(string(env), g.home.Hash()+":") {
			all = append(all, p+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	lost := g.lost()
	return slices.DeleteFunc(all, func(s string) bool {
		return slices.ContainsFunc(lost, func(id string) bool { return strings.Contains(s, id) })
	})
}

// lost are the ids of containers that the engine no longer knows and has left
// with containerd: it was killed while it started them.
func (g *rig) lost() []string {
	known := g.docker("ps", "-aq", "--no-trunc")
	var all []string
	add := func(id string) {
		if !strings.Contains(known, id) && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	found, _ := filepath.Glob(g.engine.Dir() + "/exec/containerd/io.containerd.runtime.v2.task/moby/*")
	for _, f := range found {
		add(filepath.Base(f))
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, l := range lines {
		b, _ := os.ReadFile(l)
		if line := string(b); strings.Contains(line, g.engine.Dir()) {
			if _, id, ok := strings.Cut(line, "\x00-id\x00"); ok {
				id, _, _ = strings.Cut(id, "\x00")
				add(id)
			}
		}
	}
	return all
}

// unit is a backend that does what args say; life is how far off its deadline is.
func (g *rig) unit(life time.Duration, args ...string) runtime.Unit {
	g.t.Helper()
	name := fmt.Sprintf("b%d", units.Add(1))
	u := runtime.Unit{
		Backend: plane.BackendID(name), Key: plane.Key{Name: name}, Generation: 1,
		Policy: plane.Fast, Epoch: 1, Deadline: leaseNow().Add(life), Grace: 500 * time.Millisecond,
		Executable: plane.Executable{Image: "server", Command: append([]string{"/server"}, args...)},
		Env:        []string{"PORT=8080", "SESSION_BACKEND_ID=" + name}, Port: 8080,
	}
	u.Doors = g.doors(u.Backend)
	return u
}

func (g *rig) doors(id plane.BackendID) string {
	g.t.Helper()
	dir := g.home.DoorDir(id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	return dir
}

func (g *rig) start(u runtime.Unit) runtime.Process {
	g.t.Helper()
	p, err := g.r.Start(g.Ctx(), u)
	if err != nil {
		g.t.Fatal(err)
	}
	return p
}

func (g *rig) wait(p runtime.Process) plane.Exit {
	g.t.Helper()
	exit, err := p.Wait(g.Ctx())
	if err != nil {
		g.t.Fatal(err)
	}
	return exit
}

// says runs a backend to its end and gives its output.
func (g *rig) says(u runtime.Unit) string {
	g.t.Helper()
	return g.wait(g.start(u)).Output
}

func leaseNow() plane.Instant { return leaseclock.Lease().Now() }

// marked reports whether any process carries the backend's marker.
func (g *rig) marked(id plane.BackendID) bool { return g.runs(id, "") }

// runs reports whether any of those has word in its command line.
func (g *rig) runs(id plane.BackendID, word string) bool {
	mark := g.home.Hash() + ":" + string(id)
	dir, _ := os.ReadDir("/proc")
	for _, d := range dir {
		env, _ := os.ReadFile("/proc/" + d.Name() + "/environ")
		line, _ := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		if (strings.Contains(string(env), mark+"\x00") || strings.Contains(string(env), mark+" ")) && strings.Contains(string(line), word) {
			return true
		}
	}
	return false
}

// image has /server, some users, and nothing else.
func image(t *testing.T, change ...func(*v1.Config)) v1.Image {
	t.Helper()
	config := v1.Config{Entrypoint: []string{"/server"}}
	for _, c := range change {
		c(&config)
	}
	server := imagetest.Program(t, "plane/internal/runtime/docker/testdata/server")
	return imagetest.Image(t, config, imagetest.Layer(t,
		imagetest.File{Name: "server", Body: server, Mode: 0o755},
		imagetest.File{Name: "etc/passwd", Body: []byte("root:x:0:0::/:/\napp:x:1234:1235::/:/\n")},
		imagetest.File{Name: "etc/group", Body: []byte("root:x:0:\nstaff:x:77:\n")},
	))
}
