package docker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/runtime"
	"plane/internal/runtime/docker"
)

// TestContainer is about what a container is given, on one engine.
func TestContainer(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"it has no rights, no network and nothing published":  secure,
		"its limits are in force inside":                      limits,
		"without a command it runs its image's":               imagesCommand,
		"the engine's runtime is the operator's":              engineRuntime,
		"its output is kept as the operator says":             logConfig,
		"GPUs that the machine hasn't fail it":                gpus,
		"a limit that the engine refuses fails it":            refusedLimit,
		"it runs as the image's user, who owns new data":      users,
		"mounts are by path and by key, below the base":       mountsBelow,
		"networks are those of the operator":                  networks,
		"its image's stop signal is the one that it gets":     stopSignal,
		"its environment has every name once, with its mark":  environment,
		"its end is told within 200 ms":                       seenSoon,
		"what others do to it is told":                        meddled,
		"it ends though it is paused":                         paused,
		"it is never started again":                           startedAgain,
		"what it uses is told":                                usage,
		"commands run in it":                                  execs,
		"a command that is given up is killed":                execsGivenUp,
		"only what is ours and unused is pruned":              prune,
		"an image that isn't there is told":                   noImage,
		"a read-only root can be written in /tmp alone":       readOnly,
		"a stop while it starts ends it":                      stopsEarly,
		"an image's end at once has its code and its output":  endsAtOnce,
		"images are given to other runtimes":                  source,
		"a container of another with our name is left alone":  foreign,
		"what a former agent began is taken over or cleared":  cutShort,
		"output is followed, and its last lines can be asked": outputs,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), test)
	}
}

// inspected is what `docker inspect` says of a backend's container.
func (g *rig) inspected(id plane.BackendID, format string) string {
	g.t.Helper()
	return g.docker("inspect", "--format", format, "plane-"+string(id))
}

func secure(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "cat", "/proc/self/status", "cat", "/proc/net/dev", "dial", "tcp", "169.254.169.254:80", "dial", "udp", "[2001:db8::1]:53", "sleep")
	p := g.start(u)
	g.Outputs(g.r, u.Backend, "dial: dial udp")
	out := g.Output(g.r, u.Backend)
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "network is unreachable"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q isn't in %s", want, out)
		}
	}
	if strings.Contains(out, "eth0") {
		t.Errorf("it has a network: %s", out)
	}
	got := g.inspected(u.Backend, "{{.Name}} {{.HostConfig.NetworkMode}} {{.HostConfig.PortBindings}} {{.HostConfig.AutoRemove}} {{.Config.Labels}}")
	if want := fmt.Sprintf("/plane-%s none map[] false map[dev.plane.backend:true dev.plane.drone:%s dev.plane.generation:1 dev.plane.key:%s]", u.Backend, g.home.Hash(), u.Key.Hash()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	a, ok := plane.ParseGateAddress(p.Address())
	if want := (plane.GateAddress{Socket: g.home.GateSocket(), Backend: u.Backend, Port: 8080}); !ok || a != want {
		t.Errorf("address %q", p.Address())
	}
	if !dronetest.Alive(p.Pid()) {
		t.Error("its pid isn't one")
	}
}

func limits(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "ulimit", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "cat", "/sys/fs/cgroup/memory.max",
		"cat", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "cat", "/sys/fs/cgroup/cpu.max", "say", "so", "sleep")
	n := func(v int64) *int64 { return &v }
	u.Executable.Limits = plane.ResourceLimits{
		CPUPeriod: n(50_000), CPUPeriodPercent: n(20), CPUTimeLimit: n(7), MemoryLimitBytes: n(50<<20 + 1), PidsLimit: n(99), OpenFilesLimit: n(123),
	}
	g.start(u)
	g.Outputs(g.r, u.Backend, "so\n")
	for _, want := range []string{"nofile 123 123\n", "cpu 7 7\n", "52428800\n", "10000"} { // memory in whole pages
		if out := g.Output(g.r, u.Backend); !strings.Contains(out, want) {
			t.Errorf("%q isn't in %s", want, out)
		}
	}
	if got := g.inspected(u.Backend, "{{.HostConfig.CpuPeriod}} {{.HostConfig.CpuQuota}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}"); got != fmt.Sprint(50_000, 10_000, 50<<20+1, 99) {
		t.Errorf("limits %s", got)
	}
	// Without a period the kernel's stays, and the quota is one of 100 ms.
	v := g.unit(time.Minute, "sleep")
	v.Executable.Limits = plane.ResourceLimits{CPUPeriodPercent: n(150)}
	g.start(v)
	if got := g.inspected(v.Backend, "{{.HostConfig.CpuPeriod}} {{.HostConfig.CpuQuota}}"); got != "0 150000" {
		t.Errorf("limits %s", got)
	}
}

func refusedLimit(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "sleep")
	disk := int64(1 << 30)
	u.Executable.Limits.DiskLimitBytes = &disk
	_, err := g.r.Start(g.Ctx(), u)
	if err == nil || !strings.Contains(err.Error(), "storage-opt") {
		t.Errorf("got %v", err)
	}
	if found, err := g.r.Found(g.Ctx()); err != nil || len(found) != 0 {
		t.Errorf("left: %v %v", found, err)
	}
}

func imagesCommand(t *testing.T) {
	g := newRig(t)
	g.engine.Load(t, image(t, func(c *v1.Config) { c.Cmd, c.WorkingDir = []string{"say", "its own", "cat", "passwd", "env"}, "/tmp" }), "own:latest")
	u := g.unit(time.Minute)
	u.Executable.Image, u.Executable.Command, u.Executable.Dir, u.Port = "own", nil, "/etc", 9191
	u.Env = append(u.Env, "PORT=9191")
	p := g.start(u)
	g.Outputs(g.r, u.Backend, "serves")
	for _, want := range []string{"its own\n", "root:x:0", "PORT=9191\n"} {
		if out := g.Output(g.r, u.Backend); !strings.Contains(out, want) {
			t.Errorf("%q isn't in %s", want, out)
		}
	}
	if a, _ := plane.ParseGateAddress(p.Address()); a.Port != 9191 {
		t.Errorf("it is dialled at %s", p.Address())
	}
}

func engineRuntime(t *testing.T) {
	g := newRig(t, func(o *docker.Options) { o.EngineRuntime = "crun" })
	if err := g.r.Check(g.Ctx()); err != nil {
		t.Error(err)
	}
	u := g.unit(time.Minute, "sleep")
	g.start(u)
	if got := g.inspected(u.Backend, "{{.HostConfig.Runtime}}"); got != "crun" {
		t.Errorf("it runs by %s", got)
	}
	none := newRig(t, func(o *docker.Options) { o.EngineRuntime = "runsc" })
	if err := none.r.Check(g.Ctx()); err == nil || !strings.Contains(err.Error(), `no runtime "runsc"; install it`) {
		t.Errorf("check: %v", err)
	}
}

func logConfig(t *testing.T) {
	for want, config := range map[string]docker.LogConfig{
		"json-file map[max-file:2 max-size:10m]": {},
		"local map[max-size:1m]":                 {Type: "local", Config: map[string]string{"max-size": "1m"}},
		"none map[]":                             {Type: "none"},
	} {
		g := newRig(t, func(o *docker.Options) { o.Log = config })
		u := g.unit(time.Minute, "say", "this", "sleep")
		p := g.start(u)
		if got := g.inspected(u.Backend, "{{.HostConfig.LogConfig.Type}} {{.HostConfig.LogConfig.Config}}"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if config.Type != "none" {
			g.Outputs(g.r, u.Backend, "this\n")
			continue
		}
		if _, err := g.r.Output(g.Ctx(), u.Backend, 0, false); err == nil || !strings.Contains(err.Error(), "does not support reading") {
			t.Errorf("output that isn't kept: %v", err)
		}
		_ = p.Stop(g.Ctx(), plane.Soft)
		if exit := g.wait(p); exit.Code == nil || *exit.Code != 0 || exit.Message != "" {
			t.Errorf("exit %+v", exit)
		}
	}
}

func gpus(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "sleep")
	u.Executable.GPUs = "2"
	_, err := g.r.Start(g.Ctx(), u)
	if err == nil || !strings.Contains(err.Error(), "the Docker engine refuses to start it: could not select device driver") || !strings.Contains(err.Error(), "gpu") {
		t.Errorf("got %v", err)
	}
	g.Eventually("nothing of it is left", func() bool { return g.containers("-aq") == "" })
}

func users(t *testing.T) {
	g := newRig(t)
	for _, c := range []struct{ image, user, want string }{
		{"server", "", "0 0"}, {"app", "", "1234 1235"}, {"app", "77:88", "77 88"}, {"server", "app:staff", "1234 77"},
	} {
		u := g.unit(time.Minute, "id", "write", "/plane-data/x")
		u.Executable.Command = append(u.Executable.Command, "exit", "0")
		u.Executable.Image, u.Executable.User = c.image, c.user
		u.Data, u.DataNew = t.TempDir(), true
		if out := g.says(u); out != c.want+"\n<nil>" {
			t.Errorf("%+v: %q", c, out)
		}
	}
	u := g.unit(time.Minute, "sleep")
	u.Executable.User = "nobody"
	u.Data, u.DataNew = t.TempDir(), true
	if _, err := g.r.Start(g.Ctx(), u); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("got %v", err)
	}
}

func mountsBelow(t *testing.T) {
	base := t.TempDir()
	g := newRig(t, func(o *docker.Options) { o.MountBase = base })
	mounting := func(mount string) runtime.Unit {
		u := g.unit(time.Minute, "write", "/plane-data/here", "exit", "0")
		u.Executable.Mount = json.RawMessage(mount)
		return u
	}
	for mount, dir := range map[string]string{`"a/b"`: "a/b", `true`: ""} {
		u := mounting(mount)
		u.Executable.User = "app" // who owns what is made
		if dir == "" {
			u.Key.Name = "../.." // trap 42
			dir = u.Key.Hash()
		}
		if out := g.says(u); out != "<nil>" {
			t.Errorf("%s: %s", mount, out)
		}
		if _, err := os.Stat(filepath.Join(base, dir, "here")); err != nil {
			t.Errorf("%s: %v", mount, err)
		}
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(base, "a/link")); err != nil {
		t.Fatal(err)
	}
	for _, mount := range []string{`"a/link"`, `"a/link/c"`, `"../x"`, `"/etc"`, `".a"`} {
		if _, err := g.r.Start(g.Ctx(), mounting(mount)); err == nil || !strings.Contains(err.Error(), "mount") {
			t.Errorf("%s: %v", mount, err)
		}
	}
	none := newRig(t)
	u := none.unit(time.Minute, "cat", "/plane-data", "exit", "0")
	u.Executable.Mount = json.RawMessage("true")
	if out := none.says(u); !strings.Contains(out, "no such file") {
		t.Errorf("without a base: %s", out)
	}
}

func networks(t *testing.T) {
	g := newRig(t, func(o *docker.Options) { o.Networks = []string{"inner"} })
	if err := g.r.Check(g.Ctx()); err == nil || !strings.Contains(err.Error(), "docker network create inner") {
		t.Errorf("check: %v", err)
	}
	g.docker("network", "create", "--internal", "inner")
	defer g.docker("network", "rm", "inner")
	if err := g.r.Check(g.Ctx()); err != nil {
		t.Error(err)
	}
	name := "inner"
	u := g.unit(time.Minute, "cat", "/proc/net/dev", "exit", "0")
	u.Executable.NetworkName = &name
	if out := g.says(u); !strings.Contains(out, "eth0") {
		t.Errorf("it isn't in the network: %s", out)
	}
	other := "host"
	u = g.unit(time.Minute, "sleep")
	u.Executable.NetworkName = &other
	if _, err := g.r.Start(g.Ctx(), u); err == nil || !strings.Contains(err.Error(), "--docker-networks") {
		t.Errorf("got %v", err)
	}
}

func stopSignal(t *testing.T) {
	g := newRig(t)
	for image, want := range map[string]string{"server": "got terminated", "app": "got user defined signal 1"} {
		u := g.unit(time.Minute, "signal")
		u.Executable.Image = image
		p := g.start(u)
		g.Outputs(g.r, u.Backend, "waits")
		for range 2 {
			if err := p.Stop(g.Ctx(), plane.Soft); err != nil && err != runtime.ErrGone {
				t.Fatal(err)
			}
		}
		if exit := g.wait(p); !strings.HasSuffix(exit.Output, want) || exit.Code == nil || *exit.Code != 0 {
			t.Errorf("%s: %+v", image, exit)
		}
	}
}

func environment(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "env", "exit", "0")
	u.Env = append(u.Env, "A=1", "A=2", "EMPTY=")
	out := "\n" + g.says(u) + "\n"
	for _, want := range []string{"\nA=2\n", "\nEMPTY=\n", "\nPORT=8080\n", "PLANE_MARKER=" + g.home.Hash() + ":" + string(u.Backend)} {
		if !strings.Contains(out, want) {
			t.Errorf("%q isn't in %s", want, out)
		}
	}
	if strings.Contains(out, "A=1") {
		t.Errorf("an older value is there: %s", out)
	}
}

func usage(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "eat", "20", "write", "/big", "dial", "tcp", "127.0.0.1:1", "sleep")
	p := g.start(u)
	g.Outputs(g.r, u.Backend, "dial:")
	m := p.(runtime.Meter)
	g.Eventually("it has eaten", func() bool {
		u, err := m.Usage(g.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		return u.Memory > 0 && u.CPU > 0 && u.Pids > 0 && u.Received > 0 && u.Disk > 0
	})
	_ = p.Stop(g.Ctx(), plane.Hard)
	g.wait(p)
	if u, err := m.Usage(g.Ctx()); err == nil && (u.Memory < 0 || u.Memory > 1<<40) {
		t.Errorf("trap 44: of a dead one %+v", u)
	}
}

func prune(t *testing.T) {
	g, other := newRig(t), newRig(t, func(o *docker.Options) { o.PruneAge = time.Hour })
	// Of another drone: ended and not forgotten, and a running one.
	kept := other.unit(time.Minute, "exit", "0")
	kept.Backend = "of-another"
	kept.Doors = ""
	other.wait(other.start(kept))
	live := other.unit(time.Minute, "sleep")
	live.Backend, live.Doors = "of-another-2", ""
	other.start(live)
	// One that ran and isn't forgotten, and some that nobody knows and that live,
	// however long others are kept.
	for _, name := range []string{"plane-stray", "plane-paused"} {
		other.docker("run", "-d", "--network", "none", "--name", name,
			"--label", "dev.plane.backend=true", "--label", "dev.plane.drone="+other.home.Hash(), "server", "sleep")
	}
	g.docker("pause", "plane-paused")
	mine := g.unit(time.Minute, "exit", "0")
	mine.Backend, mine.Doors = "mine", ""
	g.wait(g.start(mine))
	for _, r := range []*rig{g, other} {
		if err := r.r.Prune(g.Ctx()); err != nil {
			t.Fatal(err)
		}
	}
	there := func(name string) bool {
		return strings.Contains("\n"+g.containers("-a", "--format", "{{.Names}}")+"\n"+other.containers("-a", "--format", "{{.Names}}")+"\n", "\n"+name+"\n")
	}
	for name, want := range map[string]bool{"plane-stray": false, "plane-paused": false, "plane-mine": true, "plane-of-another": true, "plane-of-another-2": true} {
		if there(name) != want {
			t.Errorf("%s is there: %v", name, !want)
		}
	}
	p, err := other.r.Attach(g.Ctx(), kept.Backend)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Forget(g.Ctx()); err != nil { // kept for an hour, for people to look at
		t.Fatal(err)
	}
	if err := other.r.Prune(g.Ctx()); err != nil || !there("plane-of-another") {
		t.Errorf("too young to be pruned: %v", err)
	}
	other.r.Close()
	other.r = other.runtime(func(o *docker.Options) { o.PruneAge = time.Millisecond })
	if err := other.r.Prune(g.Ctx()); err != nil || there("plane-of-another") || !there("plane-of-another-2") {
		t.Errorf("older than the bound: %v", err)
	}
	if q, err := g.r.Attach(g.Ctx(), mine.Backend); err != nil || q.Forget(g.Ctx()) != nil {
		t.Fatal(err)
	}
	if there("plane-mine") {
		t.Error("a forgotten container is left")
	}
	other.drop(live.Backend)
}

// drop ends a backend and forgets it.
func (g *rig) drop(id plane.BackendID) {
	g.t.Helper()
	p, err := g.r.Attach(g.Ctx(), id)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = p.Stop(g.Ctx(), plane.Hard)
	g.wait(p)
	if err := p.Forget(g.Ctx()); err != nil {
		g.t.Fatal(err)
	}
}

func noImage(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute)
	u.Executable.Image, u.Executable.PullPolicy = "nowhere:1", plane.PullNever
	if p, err := g.r.Prepare(g.Ctx(), u, nil); err != nil || p.Digest != "" {
		t.Errorf("Never looks: %v %v", p, err)
	}
	if _, err := g.r.Start(g.Ctx(), u); err == nil || !strings.Contains(err.Error(), "nowhere:1") {
		t.Errorf("got %v", err)
	}
	if found, err := g.r.Found(g.Ctx()); err != nil || len(found) != 0 {
		t.Errorf("left: %v %v", found, err)
	}
}

func readOnly(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "write", "/x", "write", "/tmp/x", "exit", "0")
	u.Executable.ReadOnly = true
	if out := g.says(u); out != "open /x: read-only file system\n<nil>" {
		t.Errorf("%s", out)
	}
}

func stopsEarly(t *testing.T) {
	g := newRig(t)
	for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 50 * time.Millisecond} {
		u := g.unit(time.Minute, "stubborn", "sleep")
		done := make(chan error, 1)
		var p runtime.Process
		go func() {
			var err error
			p, err = g.r.Start(g.Ctx(), u)
			done <- err
		}()
		<-time.After(after)
		c, err := g.r.Connect(g.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Stop(g.Ctx(), u.Backend, plane.Hard)
		if err := <-done; err == nil {
			_ = p.Stop(g.Ctx(), plane.Hard)
			g.wait(p)
		}
		if g.marked(u.Backend) {
			t.Errorf("stopped after %v, it runs", after)
		}
	}
}

func endsAtOnce(t *testing.T) {
	g := newRig(t)
	exit := g.wait(g.start(g.unit(time.Minute, "say", "no database", "exit", "4")))
	if exit.Code == nil || *exit.Code != 4 || exit.Output != "no database" || exit.Signal != "" || exit.OOM {
		t.Errorf("exit %+v", exit)
	}
	u := g.unit(time.Minute)
	u.Executable.Command = []string{"/nothing"}
	if _, err := g.r.Start(g.Ctx(), u); err == nil || !strings.Contains(err.Error(), `no command "/nothing" that can be run (no such file or directory); correct`) {
		t.Errorf("got %v", err)
	}
}

func foreign(t *testing.T) {
	g := newRig(t)
	u := g.unit(time.Minute, "sleep")
	g.docker("create", "--name", containerOf(u.Backend), "server")
	defer g.docker("rm", containerOf(u.Backend))
	if _, err := g.r.Start(g.Ctx(), u); err == nil || !strings.Contains(err.Error(), "not of this drone") {
		t.Errorf("got %v", err)
	}
	if g.inspected(u.Backend, "{{.State.Status}}") != "created" {
		t.Error("it was touched")
	}
}
