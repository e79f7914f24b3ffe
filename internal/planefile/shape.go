package planefile

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// read gives the value of a node as encoding/json wants it, if it has the shape
// that t asks for. at is its path, for errors.
func read(n *yaml.Node, t reflect.Type, at string) (any, *Error) {
	n = target(n)
	if isNull(n) {
		return nil, nil // left out
	}
	if t == rawType {
		return readMount(n, at)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return read(n, t.Elem(), at)
	case reflect.Struct:
		return readFields(n, t, at)
	case reflect.Map:
		return readMap(n, t, at)
	case reflect.Slice:
		return readList(n, t, at)
	case reflect.String:
		return readText(n, at)
	case reflect.Int, reflect.Int32, reflect.Int64:
		return readNumber(n, t, at)
	case reflect.Bool:
		return readTruth(n, at)
	}
	panic("planefile: a template has a field of kind " + t.Kind().String())
}

func readFields(n *yaml.Node, t reflect.Type, at string) (any, *Error) {
	pairs, bad := pairsOf(n, at)
	if bad != nil {
		return nil, bad
	}
	out := map[string]any{}
	for _, p := range pairs {
		field, ok := fieldOf(t, p.name)
		if !ok {
			return nil, &Error{
				Line: p.line, Field: below(at, p.name),
				Message: fmt.Sprintf("There is no field %q in %s", p.name, at) + orKnown(p.name, fieldNames(t)),
			}
		}
		v, bad := readField(p, t, field, below(at, p.name))
		if bad != nil {
			return nil, bad
		}
		if v != nil {
			out[p.name] = v
		}
	}
	return out, nil
}

// readField reads one field. What an app may reach may be written as a list too.
func readField(p pair, of, t reflect.Type, at string) (any, *Error) {
	if of != templateType || p.name != "egress" || target(p.value).Kind != yaml.SequenceNode {
		return read(p.value, t, at)
	}
	v, bad := readList(target(p.value), reflect.TypeFor[[]string](), at)
	if bad != nil {
		return nil, bad
	}
	var items []string
	for _, item := range v.([]any) {
		items = append(items, item.(string))
	}
	return strings.Join(items, ", "), nil
}

func readMap(n *yaml.Node, t reflect.Type, at string) (any, *Error) {
	pairs, bad := pairsOf(n, at)
	if bad != nil {
		return nil, bad
	}
	out := map[string]any{}
	for _, p := range pairs {
		v, bad := read(p.value, t.Elem(), below(at, p.name))
		switch {
		case bad != nil:
			return nil, bad
		case v == nil && t.Elem().Kind() == reflect.String:
			field := below(at, p.name)
			return nil, &Error{Line: p.line, Field: field, Message: field + ` has no value; write "" for an empty text.`}
		case v == nil:
			field := below(at, p.name)
			return nil, &Error{Line: p.line, Field: field, Message: field + " has no value; give it one or remove it."}
		}
		out[p.name] = v
	}
	return out, nil
}

func readList(n *yaml.Node, t reflect.Type, at string) (any, *Error) {
	if n.Kind != yaml.SequenceNode {
		remedy := "it must be a list of texts."
		if words := strings.Fields(n.Value); n.Kind == yaml.ScalarNode && len(words) > 0 {
			for i, w := range words {
				words[i] = strconv.Quote(w)
			}
			remedy = "write it as a list: [" + strings.Join(words, ", ") + "]."
		}
		return nil, &Error{Line: n.Line, Field: at, Message: fmt.Sprintf("%s is %s; %s", at, kindOf(n), remedy)}
	}
	if len(n.Content) == 0 { // an empty list and none would be the same to the API
		return nil, &Error{Line: n.Line, Field: at, Message: at + " is an empty list; name something in it or remove it."}
	}
	out := []any{}
	for i, item := range n.Content {
		field := fmt.Sprintf("%s[%d]", at, i)
		v, bad := read(item, t.Elem(), field)
		switch {
		case bad != nil:
			return nil, bad
		case v == nil:
			return nil, &Error{Line: item.Line, Field: field, Message: field + ` is nothing; write "" for an empty text.`}
		}
		out = append(out, v)
	}
	return out, nil
}

func readText(n *yaml.Node, at string) (any, *Error) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return nil, &Error{Line: n.Line, Field: at, Message: fmt.Sprintf("%s is %s; it must be a text.", at, kindOf(n))}
	case n.ShortTag() != "!!str":
		// YAML reads 010 as 8 and yes as a truth value: what was meant is not known.
		return nil, &Error{Line: n.Line, Field: at, Message: fmt.Sprintf("%s is %s; it must be a text: put it in quotes, %q.", at, kindOf(n), n.Value)}
	}
	return n.Value, nil
}

func readNumber(n *yaml.Node, t reflect.Type, at string) (any, *Error) {
	wrong := func(must string) (any, *Error) {
		return nil, &Error{Line: n.Line, Field: at, Message: fmt.Sprintf("%s is %s; it must be %s.", at, kindOf(n), must)}
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		return wrong("a whole number")
	}
	var v int64
	if err := n.Decode(&v); err != nil || t.Bits() == 32 && int64(int32(v)) != v {
		return wrong(fmt.Sprintf("a whole number of at most %d bits", t.Bits()))
	}
	return v, nil
}

func readTruth(n *yaml.Node, at string) (any, *Error) {
	var v bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&v) != nil {
		return nil, &Error{Line: n.Line, Field: at, Message: fmt.Sprintf("%s is %s; it must be true or false, without quotes.", at, kindOf(n))}
	}
	return v, nil
}

// rawType is that of the one field with two shapes.
var rawType = reflect.TypeFor[json.RawMessage]()

// readMount reads what plane.ParseMount judges: a truth value or a path.
func readMount(n *yaml.Node, at string) (any, *Error) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		return readTruth(n, at)
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return nil, &Error{Line: n.Line, Field: at, Message: fmt.Sprintf("%s is %s; it must be true (a directory of each key's own), or a path in quotes.", at, kindOf(n))}
	}
	return n.Value, nil
}

// fieldOf is the type of the field of that name in JSON and YAML.
func fieldOf(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		if jsonName(t.Field(i)) == name {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		names = append(names, jsonName(t.Field(i)))
	}
	return names
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
