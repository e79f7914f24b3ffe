package docker_test

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"plane"
	"plane/internal/dockertest"
	"plane/internal/image/imagetest"
	"plane/internal/runtime"
	"plane/internal/runtime/docker"
)

// files makes an image that only has files, one in a layer each.
func files(t *testing.T, bodies ...string) v1.Image {
	var layers [][]byte
	for _, b := range bodies {
		layers = append(layers, imagetest.Layer(t, imagetest.File{Name: b[:min(len(b), 8)], Body: []byte(b), Mode: 0o644}))
	}
	return imagetest.Image(t, v1.Config{Entrypoint: []string{"/none"}}, layers...)
}

// prepare has an image pulled as the policy says.
func (g *rig) prepare(image, policy string) {
	g.t.Helper()
	u := g.unit(time.Minute)
	u.Executable.Image, u.Executable.PullPolicy = image, policy
	if _, err := g.r.Prepare(g.Ctx(), u, func(runtime.Progress) {}); err != nil {
		g.t.Fatal(err)
	}
}

// age makes what was pulled older, and opens the runtime anew.
func (g *rig) age(by map[string]time.Duration, usual time.Duration, change ...func(*docker.Options)) {
	g.t.Helper()
	g.r.Close()
	path := filepath.Join(g.home.Dir, "docker-images.json")
	b, err := os.ReadFile(path)
	all := map[string]time.Time{}
	if err != nil || json.Unmarshal(b, &all) != nil {
		g.t.Fatalf("%v: %s", err, b)
	}
	for name, at := range all {
		d, ok := by[name]
		if !ok {
			d = usual
		}
		all[name] = at.Add(-d)
	}
	if b, err = json.Marshal(all); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	g.r = g.runtime(change...)
}

func (g *rig) has(image string) bool {
	_, err := g.dockerSays("image", "inspect", image)
	return err == nil
}

func (g *rig) prunes() {
	g.t.Helper()
	if err := g.r.Prune(g.Ctx()); err != nil {
		g.t.Fatal(err)
	}
}

// TestTrap43_OnlyImagesOfOursThatNobodyUsesArePruned: those of other people stay,
// whatever they have to do with ours.
func TestTrap43_OnlyImagesOfOursThatNobodyUsesArePruned(t *testing.T) {
	hour := func(o *docker.Options) { o.AutoPruneImages, o.PruneAge = true, time.Hour }
	g := newRig(t, hour)
	reg := imagetest.NewRegistry(t, "", "")
	push := func(name string, bodies ...string) string { return reg.Push(t, name, files(t, bodies...)) }
	old, young := push("old:1", "old"), push("young:1", "young")
	used, named := push("used:1", "used"), push("named:1", "named")
	sharing, base := push("sharing:1", "common", "sharing"), push("base:1", "base")
	moving := push("moving:1", "moving 1")
	for _, image := range []string{old, young, used, named, sharing, base, moving} {
		g.prepare(image, "")
	}
	before := g.docker("image", "inspect", "--format", "{{.Id}}", moving)
	push("moving:1", "moving 2")
	g.prepare(moving, plane.PullAlways)
	// Of others: a container, another name, an image with the same layer, one made
	// of ours, images that they pulled first.
	g.docker("create", "--name", "theirs", used)
	defer g.docker("rm", "theirs")
	g.docker("tag", named, "theirs:named")
	g.engine.Load(t, files(t, "common", "theirs"), "theirs:sharing")
	g.docker("create", "--name", "made", base)
	g.docker("commit", "made", "theirs:made")
	g.docker("rm", "made")
	theirs, always := push("theirs:1", "theirs 1"), push("always:1", "always 1")
	g.docker("pull", "-q", theirs)
	g.docker("pull", "-q", always)
	g.prepare(theirs, "")
	g.prepare(always, plane.PullAlways)

	g.age(map[string]time.Duration{young: 59 * time.Minute}, 2*time.Hour) // not asked to
	g.prunes()
	if !g.has(old) {
		t.Error("images are pruned though the operator doesn't want it")
	}
	g.age(nil, 0, hour)
	g.prunes()
	for image, want := range map[string]bool{
		old: false, before: false, moving: false, sharing: false, named: false,
		base:  false, // of which only the name goes: theirs:made is made of it
		young: true, used: true, theirs: true, always: true,
		"theirs:named": true, "theirs:sharing": true, "theirs:made": true, "server": true, "app": true,
	} {
		if g.has(image) != want {
			t.Errorf("%s is there: %v", image, !want)
		}
	}
	for image, file := range map[string]string{"theirs:sharing": "common", "theirs:made": "base", "theirs:named": "named"} {
		g.docker("create", "--name", "whole", image)
		if _, err := g.dockerSays("cp", "whole:/"+file, "-"); err != nil {
			t.Errorf("a layer of %s was removed", image)
		}
		g.docker("rm", "whole")
	}
}

// TestImagesArePrunedWhenTheDiskIsNearlyFull, the longest idle first and no more
// than it takes.
func TestImagesArePrunedWhenTheDiskIsNearlyFull(t *testing.T) {
	dockertest.Need(t)
	disk := smallDisk(t, 96<<20)
	e := dockertest.Start(t, dockertest.Options{Flags: []string{"--data-root", disk}})
	day := func(o *docker.Options) { o.AutoPruneImages, o.PruneAge = true, 24*time.Hour }
	g := newRigAt(t, e, day)
	reg := imagetest.NewRegistry(t, "", "")
	var names []string
	for _, name := range []string{"a:1", "b:1", "c:1", "fresh:1"} {
		names = append(names, reg.Push(t, name, files(t, name+rand.Text()+noise(t, 6<<20))))
		g.prepare(names[len(names)-1], "")
	}
	there := func() string {
		var all []string
		for _, n := range names {
			if g.has(n) {
				all = append(all, strings.TrimPrefix(n, reg.Host+"/"))
			}
		}
		return strings.Join(all, " ")
	}
	g.age(map[string]time.Duration{names[0]: 40 * time.Minute, names[1]: 30 * time.Minute, names[2]: 20 * time.Minute}, 0, day)
	g.prunes()
	if got := there(); got != "a:1 b:1 c:1 fresh:1" {
		t.Errorf("with room on the disk there is %s", got)
	}
	for _, want := range []string{"b:1 c:1 fresh:1", "c:1 fresh:1", "fresh:1", "fresh:1"} {
		fill(t, disk, 2<<20)
		g.prunes()
		if got := there(); got != want {
			t.Errorf("there is %s, want %s", got, want)
		}
	}
}

func noise(t *testing.T, n int64) string {
	b, err := io.ReadAll(io.LimitReader(rand.Reader, n))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// smallDisk mounts a file system of its own.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	file, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", "-m", "0", file}, {"mount", "-o", "loop", file, dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", args, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}
