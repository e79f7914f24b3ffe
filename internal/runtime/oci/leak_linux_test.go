package oci

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plane"
)

// inventory is what a machine could be left with by this rig: others' tests run
// beside it, with mounts, loop devices and cgroups of their own.
func (g *rig) inventory() []string {
	var all []string
	add := func(kind string, names ...string) {
		for _, n := range names {
			all = append(all, kind+" "+n)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 4 && (strings.Contains(line, g.home.Dir) || slices.ContainsFunc(places, func(p string) bool { return strings.HasPrefix(f[4], p+"/") })) {
			add("mount", f[4])
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		b, _ := os.ReadFile(l)
		if strings.HasPrefix(string(b), g.home.Dir) {
			add("loop", l)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/plane-*/*", "/sys/fs/cgroup/*/plane-*/*"} {
		groups, _ := filepath.Glob(pattern)
		for _, c := range groups {
			if st, err := os.Stat(c); err == nil && st.IsDir() && strings.Contains(c, g.home.Hash()) {
				add("cgroup", c)
			}
		}
	}
	bundles, _ := os.ReadDir(g.home.Bundles())
	for _, b := range bundles {
		if !strings.HasPrefix(b.Name(), hidden) {
			add("bundle", b.Name())
		}
	}
	states, _ := os.ReadDir(stateDir(g.home))
	for _, s := range states {
		add("state", s.Name())
	}
	add("process", g.processes()...)
	return all
}

// processes are the sandboxes' and those that make them.
func (g *rig) processes() (all []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if exe == "/server" && strings.Contains(string(env), g.home.Hash()) || strings.Contains(string(args), g.home.Bundles()) {
			all = append(all, dir+" "+exe)
		}
	}
	return all
}

// cycles starts, kills in some way, and forgets.
func (g *rig) cycles(n int) {
	work := make(chan int)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range work {
				g.cycle(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	all.Wait()
}

func (g *rig) cycle(i int) {
	u := g.unit()
	if i%10 == 0 {
		u.Executable.Limits.DiskLimitBytes = ptr(int64(4 << 20))
		u.Executable.Limits.MemoryLimitBytes = ptr(int64(64 << 20))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if i%5 == 1 { // given up at any time
		short, stop := context.WithTimeout(ctx, time.Duration(rand.N(20))*time.Millisecond)
		p, err := g.r.Start(short, u)
		stop()
		if err != nil {
			return
		}
		_ = p.Stop(ctx, plane.Hard)
	}
	p, err := g.r.Start(ctx, u)
	if err != nil {
		g.t.Error(err)
		return
	}
	switch i % 3 {
	case 0:
		_ = syscall.Kill(p.Pid(), syscall.SIGKILL)
	case 1:
		err = p.Stop(ctx, plane.Hard)
	default:
		err = p.Stop(ctx, plane.Soft)
		_ = p.Stop(ctx, plane.Hard)
	}
	if _, werr := p.Wait(ctx); err != nil || werr != nil {
		g.t.Errorf("stop: %v, wait: %v", err, werr)
	}
	if err := p.Forget(ctx); err != nil {
		g.t.Error(err)
	}
}

// back waits until nothing is left that wasn't there before.
func (g *rig) back(before []string) {
	g.t.Helper()
	var left []string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		left = slices.DeleteFunc(g.inventory(), func(a string) bool { return slices.Contains(before, a) })
		if len(left) == 0 {
			return
		}
	}
	g.t.Errorf("left: %s", strings.Join(left, ", "))
}

func TestNothingIsLeft(t *testing.T) {
	for launcher, n := range map[string]int{"crun": 50, "runc": 15} {
		t.Run(launcher, func(t *testing.T) {
			g := newRig(t, func(o *Options) { o.Runtime = launcher })
			g.stays() // so that there is a warden
			before := g.inventory()
			g.cycles(n)
			for _, part := range []string{"warden", "reaper"} { // and they are replaced
				if pid, held := g.home.Holder(part); held {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				g.cycles(5)
			}
			g.back(before)
		})
	}
}

func TestWhatAFormerAgentLeftIsRemoved(t *testing.T) {
	g := newRig(t)
	stays := g.start(g.unit())
	ended := g.start(g.unit("/server", "exit", "3"))
	g.wait(ended)
	left := bundleOf(g.home, "left")
	if err := os.MkdirAll(left.path(upperDir), 0o700); err != nil {
		t.Fatal(err)
	}
	_ = g.hold(g.Ctx(), "held", "sha256:test")
	ctx, stop := context.WithCancel(g.Ctx())
	var all sync.WaitGroup
	all.Go(func() { _ = g.r.Run(ctx) })
	g.Eventually("it is swept", func() bool { return !left.exists() && !slices.Contains(g.holders(), "held") })
	stop()
	all.Wait()
	if !stays.bundle().exists() || !ended.bundle().exists() || len(g.holders()) != 2 {
		t.Error("what is known was swept too")
	}
}

func TestCheckFindsNothingMissing(t *testing.T) {
	g := newRig(t)
	if err := g.r.Check(g.Ctx()); err != nil {
		t.Error(err)
	}
	t.Log(g.r.About(g.Ctx()))
	g.r.opts.CapAdd = []string{"CHOWN"}
	g.r.opts.MountBase = "/no/such"
	if err := g.r.Check(g.Ctx()); err == nil || !strings.Contains(err.Error(), "CAP_CHOWN") || !strings.Contains(err.Error(), "mount base") {
		t.Errorf("got %v", err)
	}
	g.r.opts.Runtime = "nowhere/crun"
	if err := g.r.Check(g.Ctx()); err == nil || !strings.Contains(err.Error(), "nowhere/crun") {
		t.Errorf("got %v", err)
	}
}
