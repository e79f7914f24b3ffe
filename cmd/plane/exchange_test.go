package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"plane/internal/drone/home"
	"plane/internal/store"
	"plane/internal/store/sqlite"
)

func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// contents of a directory, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func restorationIn(dir string) restoration {
	return restoration{place: place{dir, filepath.Join(dir, storeFile)}, home: home.Home{Dir: dir}}
}

var (
	oldState = map[string]string{storeFile: "old", storeFile + "-wal": "old", "journal": "old", nameFile: "old", "volumes/a/x": "old", "output/y": "kept"}
	newState = map[string]string{storeFile: "new", nameFile: "new", clusterFile: "new", "volumes/b/x": "new"}
)

func TestARestoreExchangesEverythingAndPutsTheFormerStateAside(t *testing.T) {
	dir := t.TempDir()
	staged := filepath.Join(dir, ".restore-x")
	fill(t, dir, oldState)
	fill(t, staged, newState)
	aside, err := restorationIn(dir).exchange(staged, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range contents(t, aside) {
		if text != "old" {
			t.Errorf("aside: %s is %s", name, text)
		}
	}
	if n := len(contents(t, aside)); n != len(oldState)-1 {
		t.Errorf("%d files are aside", n)
	}
	is := contents(t, dir)
	for name, text := range newState {
		if is[name] != text {
			t.Errorf("%s is %q", name, is[name])
		}
	}
	for _, name := range []string{storeFile + "-wal", "journal", "volumes/a/x", unfinished} {
		if _, there := is[name]; there {
			t.Errorf("%s is still there", name)
		}
	}
	if is["output/y"] != "kept" || checkRestored(dir) != nil {
		t.Errorf("%v %v", is, checkRestored(dir))
	}
}

func TestARestoreThatFailsHalfwayPutsEverythingBack(t *testing.T) {
	dir := t.TempDir()
	staged := filepath.Join(dir, ".restore-x")
	fill(t, dir, oldState)
	fill(t, staged, map[string]string{storeFile: "new", nameFile: "new"})
	if err := os.MkdirAll(filepath.Join(staged, volumesDir), 0o700); err != nil {
		t.Fatal(err)
	}
	was := contents(t, dir)
	r := restorationIn(dir)
	r.home.Dir = filepath.Join(dir, nameFile) // so that its journal lies below a file
	if _, err := r.exchange(staged, true); err == nil {
		t.Fatal("it didn't fail")
	}
	is := contents(t, dir)
	for name, text := range was {
		if is[name] != text && !strings.HasPrefix(name, ".restore-x") {
			t.Errorf("%s was %q, is %q", name, text, is[name])
		}
	}
	if err := checkRestored(dir); err != nil {
		t.Errorf("marked as unfinished: %v", err)
	}
}

func TestARestoreThatFailsInAnEmptyDirectoryLeavesNothingInUse(t *testing.T) {
	dir := t.TempDir()
	staged := filepath.Join(dir, ".restore-x")
	fill(t, staged, newState)
	r := restorationIn(dir)
	r.home.Dir = filepath.Join(dir, nameFile) // so that its journal lies below a file
	if _, err := r.exchange(staged, true); err == nil {
		t.Fatal("it didn't fail")
	}
	for name := range contents(t, dir) {
		if !strings.HasPrefix(name, ".restore-x") {
			t.Errorf("%s is there", name)
		}
	}
}

// A kill between two moves leaves the store aside and none in its place.
func TestARestoreThatWasCutShortIsRememberedByTheNext(t *testing.T) {
	dir := t.TempDir()
	var epoch int64
	cut := filepath.Join(dir, asidePrefix+"1")
	if err := os.Mkdir(cut, 0o700); err != nil {
		t.Fatal(err)
	}
	newStore(t, cut, func(tx store.Tx) error {
		e, err := tx.RaiseStoreEpoch(41)
		epoch = e.Number
		return errors.Join(err, tx.InsertVolume(store.Volume{ID: "vol", Name: "doc-17", Drone: "dr-here", Made: true}))
	})
	// The next one was cut short as well, before it put anything aside.
	fill(t, dir, map[string]string{unfinished: filepath.Join(dir, asidePrefix+"2") + "\n", asidePrefix + "2/x": "", stagedPrefix + "old/plane.db": ""})
	r := restorationIn(dir)
	f := r.former(t.Context())
	if f.epoch != epoch || epoch < 42 || len(f.volumes) != 1 {
		t.Errorf("epoch %d of %d, volumes %v", f.epoch, epoch, f.volumes)
	}
	if err := r.tidy(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, stagedPrefix+"old")); err == nil {
		t.Error("what a killed restore unpacked is still there")
	}
}

func TestAFullDiskNamesTheFileThatIsWritten(t *testing.T) {
	for _, err := range []error{fmt.Errorf("back up: %w", sqlite.ErrDiskFull), &os.PathError{Op: "write", Path: "y", Err: syscall.ENOSPC}} {
		if text := aboutBackup("x.plane", err).Error(); !strings.Contains(text, "to write x.plane; free some") {
			t.Error(text)
		}
	}
}
