package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
)

// stateDir is where this user's programs keep their state; see the XDG base
// directory specification.
func stateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return dir
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state")
	}
	return filepath.Join(os.TempDir(), "plane-state")
}

// roleDataDir is the default data directory of a part that runs alone.
func roleDataDir(role string) string { return filepath.Join(stateDir(), "plane", role) }

// devDataDir is the default data directory of `plane dev` in a working
// directory: readable by its last element, distinct by its whole path.
func devDataDir(workingDir string) string {
	if real, err := filepath.EvalSymlinks(workingDir); err == nil {
		workingDir = real
	}
	sum := sha256.Sum256([]byte(workingDir))
	return filepath.Join(stateDir(), "plane", "dev", plainName(filepath.Base(workingDir))+"-"+hex.EncodeToString(sum[:4]))
}

// plainName keeps at most 16 characters that no shell minds.
func plainName(s string) string {
	out := make([]byte, 0, 16)
	for _, c := range []byte(s) {
		switch {
		case len(out) == cap(out):
			return string(out)
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			out = append(out, c)
		}
	}
	return string(out)
}
