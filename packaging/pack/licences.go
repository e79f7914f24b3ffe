package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// legal are the files that go with a binary which contains a module.
var legal = regexp.MustCompile(`^(?i)(LICEN[CS]E|COPYING|NOTICE|PATENTS)([.-].*)?$`)

// licences joins those of all modules that the program contains on a platform,
// and of Go itself.
func (p *packer) licences(at platform) ([]byte, error) {
	const form = `{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{"\t"}}{{.Dir}}{{end}}{{end}}`
	out, err := p.goCommand(at, "list", "-deps", "-f", form, "./cmd/plane").Output()
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(out), "\n")
	root, err := p.goCommand(at, "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	lines = append(lines, "Go, its runtime and standard library\t"+strings.TrimSpace(string(root)))
	slices.Sort(lines)
	var text bytes.Buffer
	for _, line := range slices.Compact(lines) {
		if name, dir, ok := strings.Cut(line, "\t"); ok {
			if err := licenceOf(&text, name, dir); err != nil {
				return nil, err
			}
		}
	}
	return text.Bytes(), nil
}

func licenceOf(text *bytes.Buffer, name, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	found := false
	for _, e := range entries {
		if e.IsDir() || !legal.MatchString(e.Name()) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		found = true
		_, _ = fmt.Fprintf(text, "==== %s: %s ====\n\n%s\n\n", name, e.Name(), bytes.TrimSpace(b))
	}
	if !found {
		return fmt.Errorf("%s has no licence file; look what it allows before it is shipped", name)
	}
	return nil
}
