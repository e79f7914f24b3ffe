package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/warden"
	planeruntime "plane/internal/runtime"
)

// TestMain makes this test's own program serve as reaper and warden.
func TestMain(m *testing.M) {
	dronetest.Parts(100 * time.Millisecond)
	if len(os.Args) == 3 && os.Args[1] == "agent" {
		serveAgent(os.Args[2])
	}
	os.Exit(m.Run())
}

// rig is a drone without an agent: the test is the agent.
type rig struct {
	*dronetest.Rig
	t     testing.TB
	home  home.Home
	opts  Options
	layer string
	r     *Runtime
	all   []*Runtime // closed at the end: those of before may have connected again
	n     atomic.Int32
	image picture

	mu   sync.Mutex // guards held
	held map[string]bool
}

// needs skips where sandboxes can't be made; in CI that is a failure.
func needs(t testing.TB) {
	t.Helper()
	missing := ""
	if os.Geteuid() != 0 {
		missing = "root"
	} else if _, err := look(t.Context(), ""); err != nil {
		missing = err.Error()
	}
	switch {
	case missing == "":
	case os.Getenv("CI") != "":
		t.Fatalf("missing: %s", missing)
	default:
		t.Skipf("missing: %s", missing)
	}
}

var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "planeoci")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "server")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", out, "./testdata/server")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, b)
	}
	return out, nil
})

func newRig(t testing.TB, change ...func(*Options)) *rig {
	t.Helper()
	needs(t)
	g := &rig{Rig: dronetest.New(t), t: t, held: map[string]bool{}}
	g.home, g.layer = g.Home(), g.File("layer")
	g.opts = Options{Home: g.home, Dial: func(ctx context.Context) (*warden.Client, error) {
		return dronetest.Dial(ctx, g.home)
	}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, c := range change {
		c(&g.opts)
	}
	g.unpack(map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/srv/app:/bin/sh\n",
		"etc/group":  "root:x:0:\napp:x:1001:\nvideo:x:44:app\n",
	})
	g.image = picture{
		name: "test", digest: "sha256:test", layers: []string{g.layer},
		config: config{Entrypoint: []string{"/server"}, Env: []string{"FROM=image"}},
	}
	g.r = g.runtime()
	t.Cleanup(g.end)
	return g
}

// unpack makes a layer by hand, with the program and files.
func (g *rig) unpack(files map[string]string) {
	g.t.Helper()
	exe, err := program()
	if err != nil {
		g.t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		g.t.Fatal(err)
	}
	files["server"] = string(b)
	for name, text := range files {
		path := filepath.Join(g.layer, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			g.t.Fatal(err)
		}
	}
	g.own(g.layer)
}

func (g *rig) own(dir string) {
	owner := shift
	if g.opts.NoUserNS {
		owner = 0
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, owner, owner))
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) pull(context.Context, plane.Executable, func(planeruntime.Progress)) (*picture, error) {
	p := g.image
	return &p, nil
}

func (g *rig) hold(_ context.Context, user, _ string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[user] = true
	return nil
}

func (g *rig) release(user string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.held, user)
	return nil
}

func (g *rig) holders() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.held))
}

func (g *rig) runtime() *Runtime {
	r := newRuntime(g, g.opts)
	g.all = append(g.all, r)
	return r
}

func leaseNow() plane.Instant { return leaseclock.Lease().Now() }

func (g *rig) unit(argv ...string) planeruntime.Unit {
	name := fmt.Sprintf("b%d", g.n.Add(1))
	return planeruntime.Unit{
		Backend: plane.BackendID(name), Key: plane.Key{Name: name}, Generation: 1,
		Policy: plane.Fast, Epoch: 1, Deadline: leaseNow().Add(10 * time.Minute), Grace: 500 * time.Millisecond,
		Executable: plane.Executable{Image: "test", Command: argv}, Port: plane.DefaultImagePort,
	}
}

func (g *rig) start(u planeruntime.Unit) *process {
	g.t.Helper()
	p, err := g.r.Start(g.Ctx(), u)
	if err != nil {
		g.t.Fatal(err)
	}
	return p.(*process)
}

func (g *rig) wait(p planeruntime.Process) plane.Exit {
	g.t.Helper()
	exit, err := p.Wait(g.Ctx())
	if err != nil {
		g.t.Fatal(err)
	}
	return exit
}

// run runs a unit to its end and returns what it wrote.
func (g *rig) run(u planeruntime.Unit) string {
	g.t.Helper()
	g.wait(g.start(u))
	return g.output(u)
}

// output is what a unit has written so far.
func (g *rig) output(u planeruntime.Unit) string {
	g.t.Helper()
	r, err := g.r.Output(g.Ctx(), u.Backend, 0, false)
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(b)
}

// end makes absent what runs, forgets it, and looks for what is left.
func (g *rig) end() {
	g.r.Close()
	g.r = g.runtime()
	g.End(g.r)
	for _, r := range g.all {
		r.Close()
	}
	g.Leave()
	left, _ := os.ReadDir(g.home.Bundles())
	for _, e := range left {
		if !strings.HasPrefix(e.Name(), hidden) {
			g.t.Errorf("bundle %s is left", e.Name())
		}
	}
	if left := g.holders(); len(left) > 0 {
		g.t.Errorf("images are held for %v", left)
	}
	if err := os.RemoveAll(g.home.Dir); err != nil {
		g.t.Error(err)
	}
}
