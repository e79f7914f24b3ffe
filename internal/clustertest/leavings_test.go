package clustertest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"plane/internal/drone/home"
)

// leavesNothing looks for what a drone that runs no backend any more has left.
// Only what carries its directory or the hash of that counts: other tests run on
// this machine too.
func (y *yard) leavesNothing(dir string) {
	y.t.Helper()
	h, err := home.New(dir)
	if err != nil {
		y.t.Error(err)
		return
	}
	var left []string
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if left = y.leavings(h); len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			y.t.Errorf("left of %s:\n%s", dir, strings.Join(left, "\n"))
			return
		}
	}
}

// graves is how many ended backends a drone remembers.
const graves = 32

// seesWhatRuns shows that leavesNothing would see a backend of the drone.
func (y *yard) seesWhatRuns(dir string) {
	y.t.Helper()
	h, err := home.New(dir)
	if err != nil {
		y.t.Fatal(err)
	}
	kinds := []string{"process", "socket", "cgroup"}
	if y.engine != nil {
		kinds = []string{"process", "socket", "container"}
	}
	seen := strings.Join(y.leavings(h), "\n")
	for _, kind := range kinds {
		if !strings.Contains("\n"+seen, "\n"+kind+" ") {
			y.t.Errorf("a %s isn't seen:\n%s", kind, seen)
		}
	}
}

func (y *yard) leavings(h home.Home) []string {
	var all []string
	add := func(kind string, names ...string) {
		for _, n := range names {
			all = append(all, kind+" "+strings.TrimSpace(n))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, h.Dir+"/") {
			add("mount", line)
		}
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, l := range loops {
		if b, _ := os.ReadFile(l); bytes.HasPrefix(b, []byte(h.Dir+"/")) {
			add("loop device", l)
		}
	}
	for _, g := range groupsOf(h.Dir) {
		inner, _ := filepath.Glob(g + "/*/cgroup.procs") // a pattern that ends in a slash finds nothing
		add("cgroup", inner...)
	}
	for kind, x := range map[string]struct {
		pattern string
		kept    int // of those that ended the last are kept for a while, for people to look at
	}{
		"socket":           {h.Run + "/b/*", 0},
		"scratch data":     {h.Scratch("*"), 0},
		"bundle":           {h.Bundles() + "/[^.]*", graves},
		"hold of an image": {h.Images() + "/holds/*", graves},
		"state of crun":    {filepath.Dir(h.TableFile()) + "/" + h.Hash() + ".oci/*", graves},
	} {
		if found, _ := filepath.Glob(x.pattern); len(found) > x.kept {
			add(kind, found...)
		}
	}
	links, _ := filepath.Glob("/sys/class/net/pl" + h.Hash()[:6] + "*")
	add("network link", links...)
	add("process", markedBy(h.Hash())...)
	if y.engine != nil { // containers that ended are kept too
		out, err := exec.Command("docker", "--host", y.engine.Host, "ps", "--format", "{{.Names}} {{.Status}}", "--filter", "label=dev.plane.drone="+h.Hash()).CombinedOutput()
		if err != nil {
			add("engine:", err.Error())
		}
		for line := range strings.Lines(string(out)) {
			add("container", line)
		}
	}
	return all
}

// groupsOf are the cgroups that a drone's backends have theirs in.
func groupsOf(dir string) []string {
	h, err := home.New(dir)
	if err != nil {
		return nil
	}
	var all []string
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		found, _ := filepath.Glob(pattern + "plane-" + h.Hash())
		all = append(all, found...)
	}
	return all
}

// markedBy are the processes that a drone's backends consist of.
func markedBy(hash string) []string {
	var all []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		env, err := os.ReadFile(p + "/environ")
		if errors.Is(err, os.ErrNotExist) || !bytes.Contains(env, []byte("="+hash+":")) {
			continue
		}
		line, _ := os.ReadFile(p + "/cmdline")
		all = append(all, p+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return all
}
