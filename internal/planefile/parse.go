package planefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"plane"
)

// Parse reads what the file at path holds. What is wrong in it is an *Error.
func Parse(path string, raw []byte) (File, error) {
	base, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return File{}, fmt.Errorf("find the directory of %s: %w", path, err)
	}
	f, bad := parse(base, raw)
	if bad != nil {
		bad.Path = shown(path)
		return File{}, bad
	}
	f.Path = path
	return f, nil
}

// absolute makes a template independent of the directory that the file is in.
// A program without a slash is left for the drone to find; what an image runs is
// in the image.
func absolute(t plane.Template, base string) plane.Template {
	if t.Image != "" {
		return t
	}
	t = t.Absolute(base)
	if len(t.Command) > 0 && strings.ContainsRune(t.Command[0], filepath.Separator) && !filepath.IsAbs(t.Command[0]) {
		t.Command = slices.Clone(t.Command)
		t.Command[0] = filepath.Join(t.Dir, t.Command[0])
	}
	return t
}

func parse(base string, raw []byte) (File, *Error) {
	f := File{Apps: map[string]plane.Template{}, nodes: map[string]*yaml.Node{}}
	root, bad := document(raw)
	if bad != nil {
		return f, bad
	}
	top, bad := pairsOf(root, "")
	if bad != nil {
		return f, bad
	}
	var chosen *yaml.Node
	var apps []pair
	for _, p := range top {
		switch p.name {
		case "default":
			chosen = p.value
		case "apps":
			if apps, bad = pairsOf(p.value, "apps"); bad != nil {
				return f, bad
			}
		default:
			return f, unknownAtTop(p)
		}
	}
	if len(apps) == 0 {
		return f, &Error{Line: 1, Field: "apps", Message: "The file names no app; write `apps:`, below it the name of an app, and below that its command."}
	}
	for _, p := range apps {
		t, bad := app(p, base)
		if bad != nil {
			return f, bad
		}
		f.Apps[p.name], f.nodes[p.name] = t, p.value
	}
	f.Default, bad = defaultOf(chosen, f.Names())
	return f, bad
}

// document is the one document that the file holds.
func document(raw []byte) (*yaml.Node, *Error) {
	d := yaml.NewDecoder(bytes.NewReader(raw))
	var doc, more yaml.Node
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return nil, &Error{Line: 1, Message: "The file is empty; write one with `plane init`."}
	case err != nil:
		return nil, syntax(err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, syntax(err)
		}
		return nil, &Error{Line: more.Line, Message: "The file has a second document (after ---); write all apps in one."}
	}
	return doc.Content[0], nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntax words an error of the YAML parser.
func syntax(err error) *Error {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	e := &Error{}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	e.Message = "This is no YAML: " + text + "."
	if strings.Contains(text, "cannot start any token") {
		e.Message += " Indent with spaces, not tabs, and put text that begins with a sign in quotes."
	}
	return e
}

func unknownAtTop(p pair) *Error {
	e := &Error{Line: p.line, Field: p.name}
	if slices.Contains(fieldNames(templateType), p.name) {
		e.Message = fmt.Sprintf("%s belongs to an app; write it below `apps:` and the name of the app.", p.name)
		return e
	}
	e.Message = fmt.Sprintf("There is no field %q here", p.name) + orKnown(p.name, []string{"default", "apps"})
	return e
}

// orKnown ends a sentence with what was probably meant, or else what may stand there.
func orKnown(wrong string, names []string) string {
	if best := plane.Nearest(wrong, names); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return "; known are " + strings.Join(names, ", ") + "."
}

func app(p pair, base string) (plane.Template, *Error) {
	at := "apps." + p.name
	if bad := plane.CheckAppName(p.name); bad != nil {
		return plane.Template{}, &Error{Line: p.line, Field: at, Message: bad.Message}
	}
	v, bad := read(p.value, templateType, at)
	if bad != nil {
		return plane.Template{}, bad
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return plane.Template{}, &Error{Line: p.line, Field: at, Message: at + " can't be read: " + err.Error() + "."}
	}
	var t plane.Template
	if err := json.Unmarshal(raw, &t); err != nil { // its shape was right
		return t, &Error{Line: p.line, Field: at, Message: at + " can't be read: " + err.Error() + "."}
	}
	t = absolute(t, base)
	wrong := t.Check()
	if wrong == nil {
		return t, nil
	}
	e := &Error{Line: p.line, Field: at + "." + wrong.Field, Message: "App " + p.name + ": " + wrong.Message}
	if strings.HasPrefix(wrong.Message, wrong.Field) {
		e.Message = at + "." + wrong.Message
	}
	if found := lineOf(p.value, wrong.Field); found > 0 {
		e.Line = found
	}
	return t, e
}

func defaultOf(n *yaml.Node, names []string) (string, *Error) {
	if n == nil || isNull(n) {
		if len(names) == 1 {
			return names[0], nil
		}
		return "", nil
	}
	v, bad := read(n, reflect.TypeFor[string](), "default")
	if bad != nil {
		return "", bad
	}
	name, _ := v.(string)
	if !slices.Contains(names, name) {
		return "", &Error{Line: n.Line, Field: "default", Message: fmt.Sprintf("default is %q, which is none of the apps", name) + orKnown(name, names)}
	}
	return name, nil
}
