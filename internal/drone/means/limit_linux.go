package means

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"plane"
)

var controllers = []string{"memory", "pids", "cpu"}

const defaultPeriod = 100_000 // µs, the kernel's own

// setting is one file of a controller.
type setting struct{ controller, file2, value2, file1, value1 string }

func settings(l plane.ResourceLimits) []setting {
	var all []setting
	if l.MemoryLimitBytes != nil {
		n := strconv.FormatInt(*l.MemoryLimitBytes, 10)
		all = append(all, setting{"memory", "memory.max", n, "memory.limit_in_bytes", n})
	}
	if l.PidsLimit != nil {
		n := strconv.FormatInt(*l.PidsLimit, 10)
		all = append(all, setting{"pids", "pids.max", n, "pids.max", n})
	}
	if l.CPUPeriodPercent != nil {
		period := int64(defaultPeriod)
		if l.CPUPeriod != nil {
			period = *l.CPUPeriod
		}
		quota := strconv.FormatInt(max(period**l.CPUPeriodPercent/100, 1000), 10)
		p := strconv.FormatInt(period, 10)
		all = append(all,
			setting{"cpu", "cpu.max", quota + " " + p, "cpu.cfs_period_us", p},
			setting{"cpu", "", "", "cpu.cfs_quota_us", quota})
	}
	return all
}

// limit sets the limits of a backend before it starts. join are the files that
// its first process must write its pid to, missing the controllers that the
// system doesn't give us.
func (g *groups) limit(id plane.BackendID, l plane.ResourceLimits) (join []joining, missing []string) {
	joined := map[string]bool{}
	for _, s := range settings(l) {
		if g != nil && g.has2(s.controller) {
			if s.file2 != "" && os.WriteFile(filepath.Join(g.of(id), s.file2), []byte(s.value2), 0) != nil {
				missing = append(missing, s.controller)
			}
			continue
		}
		dir := g.v1(s.controller, id)
		if dir == "" || os.MkdirAll(dir, 0o755) != nil || os.WriteFile(filepath.Join(dir, s.file1), []byte(s.value1), 0) != nil {
			missing = append(missing, s.controller)
			continue
		}
		if s.controller == "memory" { // swap would make the limit a slow-down instead; not every kernel counts it
			_ = os.WriteFile(filepath.Join(dir, "memory.memsw.limit_in_bytes"), []byte(s.value1), 0)
		}
		if !joined[s.controller] {
			joined[s.controller] = true
			join = append(join, joining{s.controller, filepath.Join(dir, "cgroup.procs")})
		}
	}
	return join, missing
}

// has2 reports whether version 2 has the controller for our backends.
func (g *groups) has2(controller string) bool {
	g.once.Do(func() {
		g.v2 = map[string]bool{}
		for _, c := range controllers {
			for _, dir := range []string{filepath.Dir(g.base), g.base} {
				_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
			}
			b, _ := os.ReadFile(filepath.Join(g.base, "cgroup.subtree_control"))
			for f := range strings.FieldsSeq(string(b)) {
				g.v2[f] = true
			}
		}
	})
	return g.v2[controller]
}

// v1 is the directory of a backend below a controller of version 1, "" if that
// isn't mounted.
func (g *groups) v1(controller string, id plane.BackendID) string {
	if g == nil {
		return ""
	}
	root := filepath.Join("/sys/fs/cgroup", controller)
	if g.v1dir != nil {
		root = g.v1dir(controller)
	}
	if _, err := os.Stat(filepath.Join(root, "tasks")); err != nil { // only version 1 has it
		return ""
	}
	return filepath.Join(root, "plane-"+g.hash, string(id))
}

// outOfMemory reports whether the kernel killed for the memory limit.
func (g *groups) outOfMemory(id plane.BackendID) bool {
	if g == nil {
		return false
	}
	files := []string{filepath.Join(g.of(id), "memory.events")}
	if dir := g.v1("memory", id); dir != "" { // there each cgroup counts only its own
		for _, d := range tree(dir) {
			files = append(files, filepath.Join(d, "memory.oom_control"))
		}
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "oom_kill "); ok && strings.TrimSpace(v) != "0" {
				return true
			}
		}
	}
	return false
}
