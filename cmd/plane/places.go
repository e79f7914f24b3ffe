package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
	workingDir = realDir(workingDir)
	sum := sha256.Sum256([]byte(workingDir))
	return filepath.Join(stateDir(), "plane", "dev", plainName(filepath.Base(workingDir))+"-"+hex.EncodeToString(sum[:4]))
}

// realDir is dir without symbolic links, as far as that can be told.
func realDir(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// upwards are dir and the directories that it is in, the nearest first.
func upwards(dir string) []string {
	all := []string{dir}
	for up := filepath.Dir(dir); up != dir; up = filepath.Dir(dir) {
		dir = up
		all = append(all, dir)
	}
	return all
}

// elsewhere is the file in a working directory's default data directory that
// names the one which `plane dev` was given instead.
const elsewhere = "elsewhere"

// devDataDirOf is the data directory that `plane dev` last used in a working
// directory, and whether it was ever used there.
func devDataDirOf(workingDir string) (dir string, used bool) {
	dir = devDataDir(workingDir)
	if b, err := os.ReadFile(filepath.Join(dir, elsewhere)); err == nil {
		return strings.TrimSpace(string(b)), true
	}
	_, err := os.Stat(filepath.Join(dir, "plane.db"))
	return dir, err == nil
}

// noteDevDataDir remembers for the command line where `plane dev` of a working
// directory keeps its data.
func noteDevDataDir(workingDir, dir string) error {
	usual := devDataDir(workingDir)
	note := filepath.Join(usual, elsewhere)
	if dir == usual {
		if err := os.Remove(note); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(usual, 0o700); err != nil {
		return err
	}
	return writeFile(note, dir+"\n")
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
