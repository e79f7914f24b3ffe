package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"plane/internal/store"
)

func TestASnapshotIsTakenBesideTheWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plane.db")
	db, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put := func(v string) {
		t.Helper()
		if err := db.Update(t.Context(), func(tx store.Tx) error { return tx.SetMeta("word", v) }); err != nil {
			t.Fatal(err)
		}
	}
	put("before")
	copied := filepath.Join(t.TempDir(), "copy.db")
	if err := Snapshot(t.Context(), path, copied); err != nil {
		t.Fatal(err)
	}
	put("after")
	for file, want := range map[string]string{copied: "before", path: "after"} {
		err := Read(t.Context(), file, func(tx store.Tx) error {
			got, err := tx.Meta("word")
			if got != want {
				t.Errorf("%s says %q, want %q", file, got, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := QuickCheck(file); err != nil {
			t.Error(err)
		}
		if has, knows, err := Schema(file); err != nil || has != knows || has == 0 {
			t.Errorf("schema %d of %d, %v", has, knows, err)
		}
	}
	if _, err := Lock(path); !errors.Is(err, ErrInUse) {
		t.Errorf("locked beside its process: %v", err)
	}
}

func TestWhatIsNoDatabaseIsSaid(t *testing.T) {
	dir := t.TempDir()
	none, wrong := filepath.Join(dir, "none.db"), filepath.Join(dir, "wrong.db")
	if err := os.WriteFile(wrong, []byte("this is a letter to my aunt, and no database of anything"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Schema(wrong); !errors.Is(err, ErrNotStore) {
		t.Errorf("schema of a letter: %v", err)
	}
	if err := QuickCheck(wrong); !errors.Is(err, ErrNotStore) {
		t.Errorf("check of a letter: %v", err)
	}
	for _, err := range []error{
		QuickCheck(none), Snapshot(t.Context(), none, filepath.Join(dir, "x")),
		Read(t.Context(), none, func(store.Tx) error { return nil }),
	} {
		if err == nil {
			t.Error("a file that isn't there was read")
		}
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("looking at it made it")
	}
}
