// Package clustertest runs real parts of the real binary, on loopback and in
// directories of the test, for tests that kill, stop and restart them.
package clustertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Binaries are the programs under test.
type Binaries struct {
	Plane string
	Echo  string // examples/echo
}

var built = sync.OnceValues(func() (Binaries, error) {
	dir, err := os.MkdirTemp("", "plane-bin-")
	if err != nil {
		return Binaries{}, err
	}
	root, err := moduleRoot()
	if err != nil {
		return Binaries{}, err
	}
	b := Binaries{Plane: filepath.Join(dir, "plane"), Echo: filepath.Join(dir, "echo")}
	for _, p := range [][2]string{{b.Plane, "./cmd/plane"}, {b.Echo, "./examples/echo"}} {
		cmd := exec.Command("go", "build", "-o", p[0], p[1])
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as released
		if out, err := cmd.CombinedOutput(); err != nil {
			return Binaries{}, fmt.Errorf("build %s: %w\n%s", p[1], err, out)
		}
	}
	return b, nil
})

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Build compiles the programs once per test process.
func Build(t TB) Binaries {
	t.Helper()
	b, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Cleanup removes what Build made; call it at the end of TestMain.
func Cleanup() {
	if b, err := built(); err == nil {
		_ = os.RemoveAll(filepath.Dir(b.Plane))
	}
}
