package planefile

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"plane"
)

var templateType = reflect.TypeFor[plane.Template]()

// pair is one name and value of a YAML mapping.
type pair struct {
	name  string
	line  int
	value *yaml.Node
}

// mostMerges bounds how many mappings "<<" may bring into one: they can name each other.
const mostMerges = 100

// pairsOf reads a mapping, with what "<<" brings in; own pairs win over those.
// at is the path of the mapping, "" for the file itself.
func pairsOf(n *yaml.Node, at string) ([]pair, *Error) {
	merges := mostMerges
	return pairsWith(n, at, &merges)
}

// pairsWith counts merges down.
func pairsWith(n *yaml.Node, at string, merges *int) ([]pair, *Error) {
	n = target(n)
	if isNull(n) {
		return nil, nil
	}
	if n.Kind != yaml.MappingNode {
		if at == "" {
			return nil, &Error{Line: n.Line, Message: "The file must be a table of names and values that has `apps:`."}
		}
		return nil, &Error{Line: n.Line, Field: at, Message: fmt.Sprintf("%s is %s; it must be a table of names and values.", at, kindOf(n))}
	}
	var own, merged []pair
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			more, bad := mergedInto(v, at, merges)
			if bad != nil {
				return nil, bad
			}
			merged = append(merged, more...)
			continue
		}
		k = target(k)
		if k.Kind != yaml.ScalarNode {
			return nil, &Error{Line: k.Line, Field: at, Message: "A name must be a text, not " + kindOf(k) + "."}
		}
		if line, twice := first[k.Value]; twice {
			field := below(at, k.Value)
			return nil, &Error{Line: k.Line, Field: field, Message: fmt.Sprintf("%s is given twice, first in line %d; remove one.", field, line)}
		}
		first[k.Value] = k.Line
		own = append(own, pair{k.Value, k.Line, v})
	}
	for _, p := range merged {
		if _, there := first[p.name]; !there {
			first[p.name] = p.line
			own = append(own, p)
		}
	}
	return own, nil
}

// mergedInto is what stands behind "<<": a mapping or a list of them, of which
// earlier ones win.
func mergedInto(v *yaml.Node, at string, merges *int) ([]pair, *Error) {
	v = target(v)
	from := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		from = v.Content
	}
	var all []pair
	for _, m := range from {
		if *merges--; *merges < 0 {
			return nil, &Error{Line: v.Line, Field: at, Message: fmt.Sprintf("\"<<\" brings more than %d tables into one; write the fields out.", mostMerges)}
		}
		some, bad := pairsWith(m, at, merges)
		if bad != nil {
			return nil, bad
		}
		all = append(all, some...)
	}
	return all, nil
}

// target is what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = target(n)
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

func below(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// kindOf says what stands in the file, for people.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a table"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return "the truth value " + n.Value
	case "!!null":
		return "nothing"
	case "!!str":
		return fmt.Sprintf("the text %q", n.Value)
	}
	return n.Value
}

// lineOf is the line of a field in a mapping, or of the nearest thing around
// it. Names in field are joined by dots.
func lineOf(n *yaml.Node, field string) int {
	line := target(n).Line
	for rest := field; rest != ""; {
		pairs, bad := pairsOf(n, "")
		if bad != nil {
			return line
		}
		var next *yaml.Node
		left := ""
		for _, p := range pairs {
			after, ok := strings.CutPrefix(rest, p.name)
			if !ok || after != "" && after[0] != '.' {
				continue
			}
			next, line, left = p.value, p.line, strings.TrimPrefix(after, ".")
		}
		if next == nil || target(next).Kind != yaml.MappingNode {
			return line
		}
		n, rest = next, left
	}
	return line
}
