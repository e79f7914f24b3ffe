package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plane/internal/api"
	"plane/internal/api/apitest"
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

// usedHere makes it look as if `plane dev` had been used in dir, and if it is
// to run, as if it did.
func usedHere(t *testing.T, dir string, runs bool) {
	t.Helper()
	socket := operatorSocket(devDataDir(dir))
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(devDataDir(dir), storeFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if runs {
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}
}

func TestADirectoryBelowAProjectIsOfThatProject(t *testing.T) {
	away(t)
	project := t.TempDir()
	below := filepath.Join(project, "src", "deep")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	usedHere(t, project, true)
	if socket, err := projectSocket(below); err != nil || socket != operatorSocket(devDataDir(project)) {
		t.Errorf("below a project that runs: %q, %v", socket, err)
	}
	usedHere(t, filepath.Dir(below), false)
	if socket, err := projectSocket(below); err != nil || socket != operatorSocket(devDataDir(project)) {
		t.Errorf("with one between that doesn't run: %q, %v", socket, err)
	}
	if socket, err := projectSocket(filepath.Dir(below)); err == nil {
		t.Errorf("in one that doesn't run: %q", socket)
	}
}

// The default address may be another project's: what is asked for by who knows
// nothing of it isn't done there.
func TestTheDefaultAddressIsRefusedIfItIsAnotherProjects(t *testing.T) {
	away(t)
	project, other := realDir(t.TempDir()), t.TempDir()
	s := apitest.New(t, api.Options{Insecure: true, Project: project})
	before := defaultController
	defaultController = s.URL
	t.Cleanup(func() { defaultController = before })
	t.Chdir(other)
	fails(t, 1, "is `plane dev` of "+project+", and none was started in this directory; go there, or name it with --controller "+s.URL, "ls")
	must(t, "ls", "--controller", s.URL)
	below := filepath.Join(project, "below")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{project, below} {
		t.Chdir(dir)
		must(t, "ls")
	}
}
