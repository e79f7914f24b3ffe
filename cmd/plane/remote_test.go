package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// In another project's directory the default address may answer; a verb there
// must not reach it unasked.
func TestVerbsOfAProjectNeverReachAnother(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("PLANE_CONTROLLER", "")
	wd := t.TempDir()
	t.Chdir(wd)
	if dir, used := devDataDirOf(wd); used || dir != devDataDir(wd) {
		t.Errorf("%s, used %v, before plane dev ever ran", dir, used)
	}
	other := filepath.Join(t.TempDir(), "data")
	if err := noteDevDataDir(wd, other); err != nil {
		t.Fatal(err)
	}
	if dir, used := devDataDirOf(wd); !used || dir != other {
		t.Errorf("%s, used %v; want %s", dir, used, other)
	}
	if _, err := new(remote).client(); err == nil || !strings.Contains(err.Error(), "isn't running") {
		t.Errorf("a project whose plane dev isn't running: %v", err)
	}
	if _, err := (&remote{controller: "http://127.0.0.1:1"}).client(); err != nil {
		t.Errorf("a controller that is named: %v", err)
	}
	if err := noteDevDataDir(wd, devDataDir(wd)); err != nil {
		t.Fatal(err)
	}
	if dir, used := devDataDirOf(wd); used || dir != devDataDir(wd) {
		t.Errorf("%s, used %v, after the usual directory was taken again", dir, used)
	}
}
