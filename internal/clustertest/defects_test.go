package clustertest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// defect is a mistake that would break a promise, and the tests that must
// notice it. It is put back into a copy of one file, which the compiler takes
// in place of the real one.
type defect struct {
	name     string
	file     string // below the module's root
	old, new string // old stands there exactly once
	pkg, run string // package and pattern of the tests that must fail
}

// TestDefectsPutBackTurnTheSuiteRed shows that the tests can fail: a test
// that never has is not trusted.
func TestDefectsPutBackTurnTheSuiteRed(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range defects {
		t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
			overlay := d.putBack(t, root)
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-failfast", "-timeout=2m",
				"-overlay="+overlay, "-run=^("+d.run+")$", d.pkg)
			cmd.Dir = root
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("with the defect %q (%s) the tests %s of %s still pass", d.name, d.file, d.run, d.pkg)
			case strings.Contains(string(out), "[build failed]"), strings.Contains(string(out), "no tests to run"):
				t.Fatalf("the defect %q could not be tried:\n%s", d.name, out)
			}
		})
	}
}

func (d defect) putBack(t *testing.T, root string) string {
	t.Helper()
	path := filepath.Join(root, d.file)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), d.old); n != 1 {
		t.Fatalf("%s has the text of defect %q %d times, want once; the code has moved, move the defect too", d.file, d.name, n)
	}
	dir := t.TempDir()
	bad := filepath.Join(dir, filepath.Base(d.file))
	if err := os.WriteFile(bad, []byte(strings.Replace(string(b), d.old, d.new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{path: bad}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

var defects = []defect{}
