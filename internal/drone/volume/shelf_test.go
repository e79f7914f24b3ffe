package volume

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plane"
	"plane/internal/drone/home"
)

func newShelf(t *testing.T) (*Shelf, home.Home) {
	t.Helper()
	h, err := home.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return NewShelf(h), h
}

func use(id string, g plane.Generation) Use {
	return Use{ID: id, Key: plane.Key{Name: "doc"}, Generation: g}
}

func newUse(id string, g plane.Generation) Use {
	u := use(id, g)
	u.New = true
	return u
}

// An agent may die after any step of an attach; the next one goes on.
func TestAttachGoesOnWhereItWasCutOff(t *testing.T) {
	s, h := newShelf(t)
	if err := os.MkdirAll(h.Volume("v"), 0o700); err != nil { // made, and not recorded
		t.Fatal(err)
	}
	for range 2 {
		if dir, err := s.Attach(newUse("v", 5)); err != nil || dir != h.Volume("v") {
			t.Fatalf("%s, %v", dir, err)
		}
	}
	if _, err := s.Attach(newUse("v", 4)); err == nil {
		t.Error("a lower generation got it")
	}
	if _, err := s.Attach(use("v", 6)); err != nil {
		t.Error(err)
	}
}

// A volume that was attached and isn't there is lost, whatever the controller
// has heard of it.
func TestVolumeThatWasAttachedIsNeverMadeAnew(t *testing.T) {
	s, h := newShelf(t)
	if _, err := s.Attach(newUse("v", 5)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(h.Volume("v")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Attach(newUse("v", 6)); err == nil || !strings.Contains(err.Error(), "loss of the data") {
		t.Errorf("attach: %v", err)
	}
	if err := os.WriteFile(h.Volume("v"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Attach(use("v", 6)); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("attach of a file: %v", err)
	}
}

// A fence that can't be read may forbid the start, so it does.
func TestDamagedFenceForbidsTheStart(t *testing.T) {
	s, h := newShelf(t)
	if _, err := s.Attach(newUse("v", 5)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "five", "-1"} {
		if err := os.WriteFile(h.Volume("v")+".generation", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Attach(use("v", 6)); err == nil || !strings.Contains(err.Error(), ".generation") {
			t.Errorf("with a fence %q: %v", text, err)
		}
	}
}

func TestVolumeIDsAreNoPaths(t *testing.T) {
	s, h := newShelf(t)
	for _, id := range []string{"", ".", "..", "../x", "a/b", "A", "v.generation", strings.Repeat("x", 65)} {
		if dir, err := s.Attach(newUse(id, 1)); err == nil {
			t.Errorf("%q became %s", id, dir)
		}
		if err := s.PutAside(id); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(h.Dir, "volumes", "*")); len(left) > 0 {
		t.Errorf("made %v", left)
	}
}

func TestPutAsideKeepsEverythingThatWasEverPutAside(t *testing.T) {
	s, h := newShelf(t)
	for range 2 {
		if err := os.MkdirAll(filepath.Join(h.Volume("v"), "doc"), 0o700); err != nil {
			t.Fatal(err)
		}
		s.Hold("v")
		if err := s.PutAside("v"); !errors.Is(err, ErrInUse) {
			t.Fatalf("while in use: %v", err)
		}
		s.Release("v")
		if err := errors.Join(s.PutAside("v"), s.PutAside("v")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Attach(newUse("v", 9)); err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("a late order: %v", err)
	}
	if err := os.MkdirAll(h.Volume("v"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Attach(use("v", 9)); err != nil {
		t.Errorf("brought back: %v", err)
	}
	if all, _ := filepath.Glob(filepath.Join(h.Dir, "abandoned", "*", "doc")); len(all) != 2 {
		t.Errorf("put aside: %v", all)
	}
}
