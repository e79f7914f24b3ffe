package means

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Place is the cgroups that a process is in, those of the root aside.
type Place struct {
	V1 []Hierarchy
	V2 string // directory
}

// Hierarchy is a cgroup of version 1.
type Hierarchy struct {
	Controllers []string
	Dir         string
}

// PlaceOf finds the cgroups of a process.
func PlaceOf(pid int) Place {
	b, _ := os.ReadFile(procFile(pid, "cgroup"))
	return parsePlace(string(b), "/sys/fs/cgroup")
}

// parsePlace reads /proc/PID/cgroup.
func parsePlace(text, mount string) Place {
	var p Place
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || f[2] == "/" {
			continue
		}
		if f[1] == "" {
			p.V2 = filepath.Join(mount, f[2])
			if _, err := os.Stat(filepath.Join(mount, "unified")); err == nil {
				p.V2 = filepath.Join(mount, "unified", f[2])
			}
			continue
		}
		p.V1 = append(p.V1, Hierarchy{
			Controllers: strings.Split(f[1], ","),
			Dir:         filepath.Join(mount, strings.TrimPrefix(f[1], "name="), f[2]),
		})
	}
	return p
}

// Beyond is p without what a child of this process is in anyway.
func (p Place) Beyond(own Place) Place {
	p.V1 = slices.DeleteFunc(slices.Clone(p.V1), func(h Hierarchy) bool {
		return slices.ContainsFunc(own.V1, func(o Hierarchy) bool { return o.Dir == h.Dir })
	})
	return p
}

// Join has a shell enter those that a clone can't be made in.
func (p Place) Join() string {
	var b strings.Builder
	for _, h := range p.V1 {
		b.WriteString("echo $$ > " + quoted(filepath.Join(h.Dir, "cgroup.procs")) + " || exit 126\n")
	}
	return b.String()
}

// of is the directory of a controller of version 1, "" if that is the root's.
func (p Place) of(controller string) string {
	for _, h := range p.V1 {
		if slices.Contains(h.Controllers, controller) {
			return h.Dir
		}
	}
	return ""
}
