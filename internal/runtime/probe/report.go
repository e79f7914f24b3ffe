// Package probe looks at backends from inside: what their programs may do, see
// and reach. The program that looks is plane/internal/runtime/probe/inside; its
// reports are compared with golden files, which are what Plane promises.
package probe

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Ask is what the program inside is told, as JSON in the variable AskEnv. Of the
// machine it is told only what it can't know.
type Ask struct {
	Report     string            // the file that it writes its report to
	Namespaces map[string]string // those of the machine, as readlink shows them
	Dial       map[string]Target
	Files      map[string]string // of the machine, by what they are
	Sibling    int               // the pid of another backend, as the machine counts
}

// AskEnv names the variable.
const AskEnv = "PROBE"

// Target is something to connect to.
type Target struct {
	Network, Address string
	Patience         int // milliseconds
}

// Report has sections, of items, of words. All of them are the same on every
// machine: they say what is promised, not what a kernel happens to be.
type Report map[string]map[string]string

// Set notes one item.
func (r Report) Set(section, item, word string) {
	if r[section] == nil {
		r[section] = map[string]string{}
	}
	r[section][item] = word
}

// Add notes a name among those of an item.
func (r Report) Add(section, item, name string) {
	all := []string{name}
	if have := r[section][item]; have != "" {
		all = append(strings.Split(have, ", "), name)
	}
	slices.Sort(all)
	r.Set(section, item, strings.Join(slices.Compact(all), ", "))
}

// JSON is its golden form.
func (r Report) JSON() []byte {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("words can't be written: %v", err)) // they are strings
	}
	return append(b, '\n')
}

// The words for what is tried.
const (
	Refused    = "refused"
	LetThrough = "let through"
	Absent     = "absent"
	Yes        = "yes"
	No         = "no"
	Drones     = "the drone's"
	Machines   = "the machine's" // nothing of its own, and so nothing is tried
)
