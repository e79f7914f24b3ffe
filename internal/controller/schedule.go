package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"plane"
)

// candidate is a drone as the scheduler sees it.
type candidate struct {
	name     plane.NodeName
	pool     string
	runtimes []string
	lacks    map[string]string // runtimes that it can't offer, and what they miss
	commands bool              // runs commands that callers name
	draining bool
	ready    bool // its lease was just renewed
}

// need is what a backend asks of its drone.
type need struct {
	pool       string
	policy     plane.Policy
	executable plane.Executable
	byCaller   bool // a command that the caller names, not an app's
}

// runs reports whether one of the drone's runtimes can run it. Which of them
// does is the drone's choice.
func (c candidate) runs(n need) bool {
	return slices.ContainsFunc(c.runtimes, n.executable.Runs) && (c.commands || !n.byCaller)
}

// choose picks a drone: among those that fit, the least loaded of bestOf drawn
// at random. draw(n) is uniform below n; load is only asked where it matters.
// The sentence says why.
func choose(all []candidate, n need, bestOf int, draw func(n int) int, load func(plane.NodeName) int) (plane.NodeName, string, *plane.Error) {
	fit, bad := fitting(all, n)
	switch {
	case bad != nil:
		return "", "", bad
	case len(fit) == 1 && len(all) == 1:
		return fit[0].name, fmt.Sprintf("%s is the only drone.", fit[0].name), nil
	case len(fit) == 1:
		return fit[0].name, fmt.Sprintf("%s is the only one of %d drones that can take it now.", fit[0].name, len(all)), nil
	}
	for i := range min(bestOf, len(fit)) {
		j := i + draw(len(fit)-i)
		fit[i], fit[j] = fit[j], fit[i]
	}
	fits := len(fit)
	fit = fit[:min(bestOf, len(fit))]
	best, least := fit[0].name, load(fit[0].name)
	for _, c := range fit[1:] {
		if n := load(c.name); n < least {
			best, least = c.name, n
		}
	}
	return best, fewest(best, least, len(fit), fits), nil
}

// fitting are those that could take it now, one at least, or why there is none.
func fitting(all []candidate, n need) ([]candidate, *plane.Error) {
	var active, fit []candidate
	for _, c := range all {
		if c.ready && !c.draining && c.pool == n.pool {
			active = append(active, c)
			if c.runs(n) {
				fit = append(fit, c)
			}
		}
	}
	switch {
	case len(active) == 0:
		return nil, plane.NewError(plane.NoDroneAvailable, "No active drone available.")
	case len(fit) == 0:
		return nil, unsupported(active, n)
	}
	return fit, nil
}

func fewest(name plane.NodeName, load, drawn, of int) string {
	text := fmt.Sprintf("%s had the fewest backends (%d) of %d drones", name, load, drawn)
	if drawn < of {
		text += fmt.Sprintf(", drawn from %d", of)
	}
	return text + "."
}

// unsupported says that no drone that could be chosen runs it: what they have,
// and what those that lack its runtime miss.
func unsupported(active []candidate, n need) *plane.Error {
	e := plane.NewError(plane.UnsupportedExecutable, "")
	e.Field = "spawn_config.executable"
	x := n.executable
	var have []string
	for _, c := range active {
		have = append(have, c.runtimes...)
	}
	slices.Sort(have)
	have = slices.Compact(have)
	list := "none"
	if len(have) > 0 {
		list = strings.Join(have, ", ")
	}
	switch {
	case x.Kind() == plane.KindProcess && slices.Contains(have, plane.RuntimeProcess):
		e.Message = "No drone runs commands that callers name; define an app, or start a drone with --allow-commands."
		return e
	case x.RuntimeName != "":
		e.Field += ".runtime"
		e.Message = fmt.Sprintf("No drone has the runtime %s; the drones have: %s.", x.RuntimeName, list)
		if slices.ContainsFunc(have, plane.Executable{Image: x.Image, Command: x.Command}.Runs) {
			e.Message += " Leave runtime out to take what there is."
		}
	case x.Kind() == plane.KindImage:
		e.Message = fmt.Sprintf("No drone has a runtime for an image (docker or oci); the drones have: %s.", list)
	default:
		e.Message = fmt.Sprintf("No drone has a runtime for a command (process); the drones have: %s.", list)
	}
	for _, miss := range missing(active, x) {
		e.Message += " " + miss
	}
	return e
}

const missesTold = 3

// missing are sentences about what drones lack to run x.
func missing(active []candidate, x plane.Executable) []string {
	var all []string
	slices.SortFunc(active, func(a, b candidate) int { return strings.Compare(string(a.name), string(b.name)) })
	for _, c := range active {
		for _, l := range c.lacksFor(x) {
			if len(all) < missesTold {
				all = append(all, fmt.Sprintf("%s can't offer %s. %s", c.name, l[0], l[1]))
			}
		}
	}
	return all
}

// lacksFor are the runtimes that could run x and aren't there, with what they
// miss; those that miss the same together.
func (c candidate) lacksFor(x plane.Executable) (all [][2]string) {
	for _, name := range slices.Sorted(maps.Keys(c.lacks)) {
		if !x.Runs(name) {
			continue
		}
		if n := len(all); n > 0 && all[n-1][1] == c.lacks[name] {
			all[n-1][0] += " and " + name
			continue
		}
		all = append(all, [2]string{name, c.lacks[name]})
	}
	return all
}
