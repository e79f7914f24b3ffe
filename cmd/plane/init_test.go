package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plane/internal/planefile"
)

func TestInitWritesAFileThatApplies(t *testing.T) {
	away(t)
	dir := filepath.Join(t.TempDir(), "My Board 2")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	like(t, must(t, "init"), `plane.yaml is written. Nothing here says what to start: .*`)
	f, err := openPlanefile("")
	if err != nil || f.Default != "my-board-2" {
		t.Fatalf("%+v %v", f, err)
	}
	fails(t, 1, "plane.yaml is there already", "init")

	if err := os.Remove(planefile.Name); err != nil {
		t.Fatal(err)
	}
	like(t, must(t, "init", "draw", "--", "./draw", "--port", "{port}"), `plane.yaml is written: app draw runs ./draw --port {port} \(from the command line\)\. .*`)
	if f, err = openPlanefile(""); err != nil || f.Apps["draw"].Command[0] != filepath.Join(dir, "draw") {
		t.Fatalf("%+v %v", f, err)
	}
	fails(t, 2, `app "Draw"`, "init", "Draw")
	if err := os.Remove(planefile.Name); err != nil {
		t.Fatal(err)
	}
	like(t, must(t, "init", "--json"), `{\n.*"app": "my-board-2".*`)
}

func TestApplyNamesFileAndLine(t *testing.T) {
	site(t)
	t.Chdir(t.TempDir())
	fails(t, 1, "there is no plane.yaml here; write one with `plane init`, or name another with --file", "apply")
	fails(t, 1, "there is no x/plane.yaml", "apply", "-f", "x/plane.yaml")
	text := "apps:\n  board:\n    command: [x]\n    max_idle_second: 5\n"
	if err := os.WriteFile("plane.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, 1, `plane: plane.yaml:4: There is no field "max_idle_second" in apps.board; did you mean "max_idle_seconds"?`, "apply")
	if err := os.WriteFile("plane.yaml", []byte(strings.ReplaceAll(text, "second:", "seconds:")), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, 2, `there is no app "bord" in`, "apply", "bord")
}
