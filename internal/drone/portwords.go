package drone

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"plane"
	"plane/internal/drone/journal"
)

// portWord is what stands for a port in the words of a command.
var portWord = regexp.MustCompile(`\{port(?::([^{}]*))?\}`)

// checkPorts reports a word that names a port which the app doesn't have.
func checkPorts(x plane.Executable, ports map[string]int) error {
	for _, w := range x.Command {
		for _, m := range portWord.FindAllStringSubmatch(w, -1) {
			_, known := ports[m[1]]
			if m[0] == "{port}" || known {
				continue
			}
			has := "it has none"
			if len(ports) > 0 {
				has = "it has " + strings.Join(slices.Sorted(maps.Keys(ports)), ", ")
			}
			return fmt.Errorf("the command has %s, and the app no port of that name (%s); add it under ports, or correct the command", m[0], has)
		}
	}
	return nil
}

// command is x with ports in place of what stands for them in its words.
func command(x plane.Executable, p portSet, dir string) plane.Executable {
	words := make([]string, len(x.Command))
	for i, w := range x.Command {
		words[i] = portWord.ReplaceAllStringFunc(w, func(found string) string {
			if name := portWord.FindStringSubmatch(found)[1]; name != "" {
				return strconv.Itoa(p.further[name])
			}
			return strconv.Itoa(p.main)
		})
	}
	x.Command = words
	if x.Dir == "" && x.Kind() == plane.KindProcess {
		x.Dir = dir
	}
	return x
}

// portSet is the ports of one backend; the zero portSet is none.
type portSet struct {
	main    int
	further map[string]int // by name
}

func portsOf(p journal.Progress) portSet { return portSet{p.Port, p.Ports} }

// takePorts draws one port and one for each name.
func takePorts(from *ports, names map[string]int) (portSet, error) {
	drawn, err := from.take(1 + len(names))
	if err != nil {
		return portSet{}, err
	}
	p := portSet{main: drawn[0]}
	for i, name := range slices.Sorted(maps.Keys(names)) {
		if p.further == nil {
			p.further = map[string]int{}
		}
		p.further[name] = drawn[1+i]
	}
	return p, nil
}

// all lists the numbers, the main one first.
func (p portSet) all() []int {
	if p.main == 0 {
		return nil
	}
	return append([]int{p.main}, slices.Sorted(maps.Values(p.further))...)
}

// environment is what a program is told of its ports.
func (p portSet) environment() []string {
	env := []string{"PORT=" + strconv.Itoa(p.main)}
	for _, name := range slices.Sorted(maps.Keys(p.further)) {
		env = append(env, "PORT_"+strings.ToUpper(name)+"="+strconv.Itoa(p.further[name]))
	}
	return env
}

// addresses are those of the further ports, on the host of the main one.
func (p portSet) addresses(main string) map[string]string {
	if len(p.further) == 0 {
		return nil
	}
	if inside, ok := plane.ParseGateAddress(main); ok {
		out := make(map[string]string, len(p.further))
		for name, port := range p.further {
			inside.Port = port
			out[name] = inside.String()
		}
		return out
	}
	host, _, err := net.SplitHostPort(main)
	if err != nil {
		return nil
	}
	out := make(map[string]string, len(p.further))
	for name, port := range p.further {
		out[name] = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return out
}
