package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plane/internal/backup"
)

// A restore in the wrong directory would look like a success and help nobody.
func TestARestoreGoesOnlyWhereItsBackupWasMade(t *testing.T) {
	dir := t.TempDir()
	head := backup.Head{Drone: "dr-mine"}
	refused := func(want string, used bool) {
		t.Helper()
		if err := madeOf(head, dir, used, "x.plane"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	refused("was never used in this directory", false)
	refused("plane restore x.plane --data-dir "+dir, false)
	refused("say so with --data-dir", true)
	if err := os.WriteFile(filepath.Join(dir, nameFile), []byte("dr-other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("another data directory (its drone is dr-mine)", true)
	if err := os.WriteFile(filepath.Join(dir, nameFile), []byte("dr-mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := madeOf(head, dir, true, "x.plane"); err != nil {
		t.Error(err)
	}
}

func TestARestoreSaysIfNothingWasThereBefore(t *testing.T) {
	for fresh, want := range map[bool]string{true: "; nothing was there before.\n", false: " again.\n"} {
		var out strings.Builder
		if err := (restored{DataDir: "/d", Fresh: fresh}).print(&out); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q, %v", out.String(), err)
		}
	}
}
