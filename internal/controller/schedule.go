package controller

import (
	"fmt"
	"slices"
	"strings"

	"plane"
)

// candidate is a drone as the scheduler sees it.
type candidate struct {
	name     plane.NodeName
	pool     string
	runtimes []string
	commands bool // runs commands that callers name
	draining bool
	ready    bool // its lease was just renewed
}

// need is what a backend asks of its drone.
type need struct {
	pool     string
	policy   plane.Policy
	runtime  string // Executable.Runtime
	byCaller bool   // a command that the caller names, not an app's
}

func (c candidate) runs(n need) bool {
	if n.runtime == "image" {
		return slices.ContainsFunc(c.runtimes, func(r string) bool { return r == "image" || r == "docker" || r == "oci" })
	}
	return slices.Contains(c.runtimes, n.runtime) && (c.commands || !n.byCaller)
}

// choose picks a drone: among those that fit, the least loaded of bestOf drawn
// at random. draw(n) is uniform below n; load is only asked where it matters.
// The sentence says why.
func choose(all []candidate, n need, bestOf int, draw func(n int) int, load func(plane.NodeName) int) (plane.NodeName, string, *plane.Error) {
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
		return "", "", plane.NewError(plane.NoDroneAvailable, "No active drone available.")
	case len(fit) == 0:
		return "", "", unsupported(active, n)
	case len(fit) == 1:
		if len(all) == 1 {
			return fit[0].name, fmt.Sprintf("%s is the only drone.", fit[0].name), nil
		}
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

func fewest(name plane.NodeName, load, drawn, of int) string {
	text := fmt.Sprintf("%s had the fewest backends (%d) of %d drones", name, load, drawn)
	if drawn < of {
		text += fmt.Sprintf(", drawn from %d", of)
	}
	return text + "."
}

func unsupported(active []candidate, n need) *plane.Error {
	var have []string
	commands := false
	for _, c := range active {
		have = append(have, c.runtimes...)
		commands = commands || slices.Contains(c.runtimes, "process")
	}
	slices.Sort(have)
	have = slices.Compact(have)
	list := "none"
	if len(have) > 0 {
		list = strings.Join(have, ", ")
	}
	what := map[string]string{"process": "a command", "image": "an image"}[n.runtime]
	text := fmt.Sprintf("No drone has a runtime for %s; the drones have: %s.", what, list)
	if n.runtime == "process" && commands {
		text = "No drone runs commands that callers name; define an app, or start a drone with --allow-commands."
	}
	e := plane.NewError(plane.UnsupportedExecutable, text)
	e.Field = "spawn_config.executable"
	return e
}
