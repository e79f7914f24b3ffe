package proxy

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"plane"
)

// TestTheErrorsPageSaysHowKeyURLsAnswer compares docs/errors.md with the status
// of each kind on key URLs. Kinds whose status there says all need no mention.
func TestTheErrorsPageSaysHowKeyURLsAnswer(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## At a proxy\n")
	rows := map[int]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d{3}) \|.*$`).FindAllStringSubmatch(section, -1) {
		status, _ := strconv.Atoi(m[1])
		rows[status] = m[0]
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		kind := plane.Kind(m[1])
		switch status := statusOf(kind); {
		case status < 405, kind == plane.NoClusterProvided, kind == plane.InvalidClusterName: // a proxy asks for its own
		case !strings.Contains(rows[status], "`"+m[1]+"`"):
			t.Errorf("docs/errors.md: the row of %d at a proxy doesn't name %s", status, m[1])
		}
	}
	for status := range rows {
		if reasonOf(status) == "" {
			t.Errorf("docs/errors.md has a row for %d", status)
		}
	}
	if !strings.Contains(rows[431], strconv.Itoa(maxHead>>10)+" KiB or "+strconv.Itoa(maxFields)+" fields") {
		t.Errorf("docs/errors.md: %s", rows[431])
	}
}
