package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"plane"
)

// TestEveryKindOfErrorIsDocumented compares docs/errors.md with the kinds there
// are, and the statuses it gives with those that are answered.
func TestEveryKindOfErrorIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[plane.Kind]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\| ([0-9, ]+) \\|.*$").FindAllStringSubmatch(string(page), -1) {
		rows[plane.Kind(m[1])] = m[2]
	}
	for kind := range kinds(t) {
		row, ok := rows[kind]
		if !ok {
			t.Errorf("docs/errors.md has no row for %s", kind)
			continue
		}
		delete(rows, kind)
		want := strconv.Itoa(status(&plane.Error{Kind: kind}))
		if !strings.Contains(row, want) {
			t.Errorf("docs/errors.md says %s for %s; it is answered with %s", row, kind, want)
		}
	}
	for kind := range rows {
		t.Errorf("docs/errors.md has a row for %s, which doesn't exist", kind)
	}
}

// kinds reads the constants of type Kind from the vocabulary.
func kinds(t *testing.T) map[plane.Kind]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[plane.Kind]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Kind" {
			text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all[plane.Kind(text)] = true
		}
		return true
	})
	if len(all) < 15 {
		t.Fatalf("found only %d kinds", len(all))
	}
	return all
}
