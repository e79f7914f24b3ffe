package planefile

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"plane"
)

// Name is what the file is called.
const Name = "plane.yaml"

const maxSize = 1 << 20 // bytes

// File is a plane.yaml that is right.
type File struct {
	Path    string
	Default string // the app that is meant where none is named; "" = none
	// Apps are ready for a controller on this machine: directories are absolute,
	// and so are programs that were given with a slash.
	Apps map[string]plane.Template

	nodes map[string]*yaml.Node // of each app
}

// Find is the path of the file in dir, or "" if there is none. It doesn't look
// further up: what a command starts must not depend on a forgotten file there.
func Find(dir string) (string, error) {
	path := filepath.Join(dir, Name)
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	}
	return path, nil
}

// Read reads the file at path. What is wrong in it is an *Error.
func Read(path string) (File, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return File{}, said{fs.ErrNotExist, fmt.Sprintf("there is no %s; write one with `plane init`, or name another with --file.", shown(path))}
	case err != nil:
		return File{}, err
	case info.IsDir():
		return File{}, fmt.Errorf("%s is a directory; name the file in it", shown(path))
	case info.Size() > maxSize:
		return File{}, &Error{Path: shown(path), Message: "The file is larger than 1 MiB."}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return File{}, err
	}
	return Parse(path, raw)
}

// Names are the names of the apps, sorted.
func (f File) Names() []string { return slices.Sorted(maps.Keys(f.Apps)) }

// Where is the line of a field of an app, as FILE:LINE, for what a controller
// finds wrong with it; field is plane.Error's.
func (f File) Where(app, field string) string {
	n := f.nodes[app]
	if n == nil {
		return shown(f.Path)
	}
	return fmt.Sprintf("%s:%d", shown(f.Path), lineOf(n, field))
}

// Error is something wrong in a file.
type Error struct {
	Path    string
	Line    int    // from 1; 0 = the file as a whole
	Field   string // "apps.board.max_idle_seconds"; "" = none of them
	Message string // a sentence, with a full stop or question mark
}

func (e *Error) Error() string {
	where := e.Path
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", e.Path, e.Line)
	}
	return where + ": " + e.Message
}

// said is an error that reads as its sentence alone.
type said struct {
	kind error
	text string
}

func (s said) Error() string { return s.text }
func (s said) Unwrap() error { return s.kind }

// shown is path as people know it: relative below the working directory.
func shown(path string) string {
	wd, err := os.Getwd()
	if err != nil || !filepath.IsAbs(path) {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return rel
	}
	return path
}
