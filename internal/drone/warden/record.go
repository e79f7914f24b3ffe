package warden

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"plane"
	"plane/internal/drone/home"
)

// Files in a backend's directory. runtime names the runtime of its order, unless
// that is process; status is what an heir saw of the end of the
// first process; exit is written when nothing of the backend is left; trouble is
// a sentence that says why the program could not be executed.
const (
	runtimeFile = "runtime"
	statusFile  = "status"
	exitFile    = "exit"
	troubleFile = "trouble"
)

func backendDir(h home.Home, id plane.BackendID) string {
	return filepath.Join(h.OutputDir(), string(id))
}

// NoteStatus keeps how the first process of a backend ended, for whichever
// warden comes next.
func NoteStatus(h home.Home, id plane.BackendID, exit plane.Exit) error {
	return writeRecord(backendDir(h, id), statusFile, exit)
}

// writeRecord doesn't sync: after a crash of the machine nothing runs, so that
// nobody needs the status of this boot.
func writeRecord(dir, name string, exit plane.Exit) error {
	b, err := json.Marshal(exit)
	if err != nil {
		return fmt.Errorf("keep exit status: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep exit status: %w", err)
	}
	temp := filepath.Join(dir, name+".new")
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return fmt.Errorf("keep exit status: %w", err)
	}
	if err := os.Rename(temp, filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("keep exit status: %w", err)
	}
	return nil
}

func readRecord(dir, name string) (plane.Exit, bool) {
	var exit plane.Exit
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || json.Unmarshal(b, &exit) != nil {
		return plane.Exit{}, false
	}
	return exit, true
}

// noteRuntime keeps which runtime asked for a backend that has ended.
func noteRuntime(dir, name string) {
	if name == "" || name == plane.RuntimeProcess {
		return
	}
	if os.MkdirAll(dir, 0o700) == nil {
		_ = os.WriteFile(filepath.Join(dir, runtimeFile), []byte(name), 0o600)
	}
}

func readRuntime(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, runtimeFile))
	if err != nil {
		return plane.RuntimeProcess
	}
	return string(b)
}

// recorded lists the backends that ended and weren't forgotten.
func recorded(h home.Home) map[plane.BackendID]bool {
	all := map[plane.BackendID]bool{}
	entries, _ := os.ReadDir(h.OutputDir())
	for _, e := range entries {
		id := plane.BackendID(e.Name())
		if _, ok := readRecord(backendDir(h, id), exitFile); ok {
			all[id] = true
		}
	}
	return all
}
