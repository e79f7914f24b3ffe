// Package js_test runs what is written in JavaScript: the tests of the client
// in Node, its types, and its published form.
package js_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// run gives the output of a program that must succeed within two minutes.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// needs skips a test where Node or what it takes from npm isn't to be had.
func needs(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("node")
	_, err2 := os.Stat("node_modules/.package-lock.json")
	if err := errors.Join(err, err2); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("`make test` installs what this needs: %v", err)
		}
		t.Skipf("`make test` installs what this needs: %v", err)
	}
}

func TestClientInNode(t *testing.T) {
	t.Parallel()
	needs(t)
	tests, err := filepath.Glob("test/*.test.js")
	if err != nil || len(tests) < 2 {
		t.Fatal(tests, err)
	}
	run(t, ".", "node", append([]string{"--test"}, tests...)...)
}

// TestPublishedForm builds the package, installs it as its users would, and
// uses it from a program in TypeScript.
func TestPublishedForm(t *testing.T) {
	t.Parallel()
	needs(t)
	dir := t.TempDir()
	dist, app := filepath.Join(dir, "dist"), filepath.Join(dir, "app")
	run(t, ".", "node", "build.js", dist)
	checkSums(t, dist)
	if n := zipped(t, filepath.Join(dist, "plane.min.js")); n > 4096 {
		t.Errorf("plane.min.js is %d bytes gzipped; README.md promises 4 KB at most", n)
	}
	packed, err := filepath.Glob(dist + "/plane-client-*.tgz")
	if err != nil || len(packed) != 1 {
		t.Fatal(packed, err)
	}
	has := strings.Fields(run(t, dir, "tar", "tzf", packed[0]))
	slices.Sort(has)
	want := "package/LICENSE package/README.md package/package.json package/plane.d.ts package/plane.js package/plane.min.js package/server.d.ts package/server.js"
	if got := strings.Join(has, " "); got != want {
		t.Errorf("the package has\n%s, want\n%s", got, want)
	}
	module := filepath.Join(app, "node_modules", "plane-client")
	if err := os.MkdirAll(module, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, module, "tar", "xzf", packed[0], "--strip-components=1")
	program := `import { connect, type Session, PlaneError } from "plane-client";
import { Plane } from "plane-client/server";
const plane = new Plane({ controller: "http://127.0.0.1:1", timeout: 100 });
try {
  const s: Session = await connect(() => plane.connect({ key: "a", wait: "ready" }));
  s.socket("ws", { onGeneration: (now: number, before: number) => console.log(now - before) }).send("x");
  // @ts-expect-error: a session has no such thing
  s.nothing();
} catch (err) {
  console.log(err instanceof PlaneError && err.kind);
}
`
	for name, text := range map[string]string{
		"app.ts":        program,
		"package.json":  `{"type":"module"}`,
		"tsconfig.json": `{"compilerOptions":{"strict":true,"module":"nodenext","target":"es2023","lib":["es2023","dom"],"types":[],"skipLibCheck":false,"outDir":"out"},"files":["app.ts"]}`,
	} {
		if err := os.WriteFile(filepath.Join(app, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tsc, err := filepath.Abs("node_modules/.bin/tsc")
	if err != nil {
		t.Fatal(err)
	}
	run(t, app, tsc, "-p", ".")
	if got := run(t, app, "node", "out/app.js"); got != "Unreachable\n" {
		t.Errorf("the program said %q", got)
	}
	minified := `import(process.argv[1]).then((m) => console.log(typeof m.connect, typeof m.here))`
	if got := run(t, app, "node", "-e", minified, filepath.Join(dist, "plane.min.js")); got != "function function\n" {
		t.Errorf("plane.min.js has %q", got)
	}
}

func checkSums(t *testing.T, dist string) {
	t.Helper()
	sums, err := os.ReadFile(filepath.Join(dist, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(sums)), "\n")
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		b, err := os.ReadFile(filepath.Join(dist, name))
		if got := sha256.Sum256(b); err != nil || hex.EncodeToString(got[:]) != sum {
			t.Errorf("SHA256SUMS: %s: %v", line, err)
		}
	}
	if len(lines) < 8 {
		t.Errorf("SHA256SUMS has %d lines", len(lines))
	}
}

func zipped(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Len()
}
