package drone

import (
	"maps"
	"slices"
	"strings"

	"plane"
)

// choose names the runtime that an executable goes to: the one that it asks for,
// else the quicker of those that can run it.
func (c *Config) choose(x plane.Executable) string {
	if x.RuntimeName != "" {
		return x.RuntimeName
	}
	if x.Kind() == plane.KindProcess {
		return plane.RuntimeProcess
	}
	if _, ok := c.Runtimes[plane.RuntimeOCI]; ok {
		return plane.RuntimeOCI
	}
	return plane.RuntimeDocker
}

// lacks says why nothing here runs x.
func (c *Config) lacks(x plane.Executable) string {
	has := "none"
	if len(c.Runtimes) > 0 {
		has = strings.Join(slices.Sorted(maps.Keys(c.Runtimes)), ", ")
	}
	what := "commands"
	if x.Kind() == plane.KindImage {
		what = "images"
	}
	if x.RuntimeName != "" {
		return "This drone doesn't offer the runtime " + x.RuntimeName + "; it has " + has + "."
	}
	return "This drone has no runtime for " + what + "; it has " + has + "."
}

// insidePorts are the ports of an image: its own, in a network of its own.
func insidePorts(x plane.Executable, further map[string]int) portSet {
	p := portSet{main: x.Port, further: further}
	if p.main == 0 {
		p.main = plane.DefaultImagePort
	}
	return p
}

// drawn is what of the backend's ports this machine gave.
func (r *runner) drawn() portSet {
	if r.exec.Kind() == plane.KindImage {
		return portSet{}
	}
	return r.given
}
