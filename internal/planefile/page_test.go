package planefile

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"plane"
)

func thePage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/plane-yaml.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fieldsOf are the JSON names of a struct's fields.
func fieldsOf(v reflect.Type) []string {
	var all []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Field(i).Tag.Get("json"), ",")
		all = append(all, name)
	}
	return all
}

func TestEveryFieldOfAnAppStandsInThePage(t *testing.T) {
	page := thePage(t)
	fields := append(fieldsOf(reflect.TypeFor[plane.Template]()), fieldsOf(reflect.TypeFor[plane.ResourceLimits]())...)
	for _, field := range append(fields, "default", "apps") {
		if !strings.Contains(page, "\n| `"+field+"` |") {
			t.Errorf("docs/plane-yaml.md has no row for %s", field)
		}
	}
	for _, m := range regexp.MustCompile("\n\\| `([a-z_]+)` \\|").FindAllStringSubmatch(page, -1) {
		if !strings.Contains(" "+strings.Join(fields, " ")+" default apps ", " "+m[1]+" ") {
			t.Errorf("docs/plane-yaml.md describes %s, which there isn't", m[1])
		}
	}
}

func TestThePagesExampleIsAFileThatIsRight(t *testing.T) {
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(thePage(t), -1)
	if len(m) == 0 {
		t.Fatal("docs/plane-yaml.md has no example")
	}
	for _, example := range m {
		if _, err := Parse(Name, []byte(example[1])); err != nil {
			t.Errorf("%v\n%s", err, example[1])
		}
	}
}
