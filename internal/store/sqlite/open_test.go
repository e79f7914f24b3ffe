package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
)

func init() { roles["open"] = tryOpen }

// tryOpen says on stdout how Open fails.
func tryOpen(path string) error {
	db, err := Open(context.Background(), path, Options{})
	if err == nil {
		return db.Close()
	}
	fmt.Print(err)
	return nil
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "folder.db")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		want error
		says string
	}{
		{filepath.Join(dir, "no", "plane.db"), os.ErrNotExist, "does not exist"},
		{text, ErrNotStore, "choose another data directory"},
		{folder, nil, "is a directory"},
	} {
		_, err := Open(context.Background(), c.path, Options{})
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
}

func TestOnlyOneProcessHasTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plane.db")
	db := openIn(t, dir)
	out, err := start(t, "open", path).Output()
	want := fmt.Sprintf("data directory in use: process %d has %s open", os.Getpid(), path)
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("another process: %q (%v), want %q", out, err, want)
	}
	if _, err := Open(context.Background(), path, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("this process again: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := start(t, "open", path).Output(); err != nil || len(out) > 0 {
		t.Errorf("after it was closed: %q (%v)", out, err)
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	if err := db.Update(context.Background(), insertKey("a")); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v), want 0600", f.Name(), info.Mode(), err)
		}
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	if _, err := db.writer.c.exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), db.path, Options{})
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "schema 99") {
		t.Errorf("error %v, want ErrNewer", err)
	}
}

func TestStrangePaths(t *testing.T) {
	for _, name := range []string{"a b", "a?b", "a#b", "a%20b", "ü", "a&_pragma=x"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		db := openIn(t, dir)
		if err := db.Update(context.Background(), insertKey("a")); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "plane.db-wal")); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestReopenedStoreGoesOn(t *testing.T) {
	dir := t.TempDir()
	next := func(db *DB) (g plane.Generation, e plane.StoreEpoch) {
		err := db.Update(context.Background(), func(tx store.Tx) (err error) {
			if e, err = tx.StoreEpoch(); err != nil {
				return err
			}
			g, err = tx.NextGeneration()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return g, e
	}
	db := openIn(t, dir)
	g, e := next(db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	h, f := next(openIn(t, dir))
	if h <= g || e != f {
		t.Errorf("generation %d then %d, epoch %v then %v", g, h, e, f)
	}
	if _, other := next(openIn(t, t.TempDir())); other.StoreID == e.StoreID {
		t.Error("two stores have one id")
	}
}

func TestTheClockIsTheCallers(t *testing.T) {
	now := time.Date(2031, 1, 2, 3, 4, 5, 678901234, time.UTC)
	db, err := Open(context.Background(), filepath.Join(t.TempDir(), "plane.db"), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lapse := func() (ok bool) {
		err := db.Update(context.Background(), func(tx store.Tx) (err error) {
			ok, err = tx.RaiseEpoch("dr-1", plane.Fast, 1, plane.Fast.Terms().Store)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	err = db.Update(context.Background(), func(tx store.Tx) error {
		if got := tx.Now(); !got.Equal(now.Truncate(time.Microsecond)) {
			t.Errorf("now is %v, want %v", got, now)
		}
		if err := tx.PutDrone(store.Drone{Name: "dr-1", Agent: "a", Epochs: plane.Epochs{1, 1, 1}}); err != nil {
			return err
		}
		_, err := tx.Renew("dr-1", "a", 1, plane.Epochs{1, 1, 1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	start := now
	for _, after := range []time.Duration{0, plane.Fast.Terms().Store, -time.Hour} {
		now = start.Add(after)
		if lapse() {
			t.Errorf("lapsed %v after its renewal", after)
		}
	}
	now = start.Add(plane.Fast.Terms().Store + time.Microsecond)
	if !lapse() {
		t.Error("not lapsed after its time")
	}
}

func TestBackupIsASnapshot(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	for _, name := range []string{"a", "b"} {
		if err := db.Update(context.Background(), insertKey(name)); err != nil {
			t.Fatal(err)
		}
		if err := db.Backup(context.Background(), filepath.Join(dir, "copy", "plane.db")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("into a missing directory: %v", err)
		}
		to := t.TempDir()
		path := filepath.Join(to, "plane.db")
		if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := db.Backup(context.Background(), path); err != nil {
			t.Fatal(err)
		}
		if files, _ := os.ReadDir(to); len(files) != 1 {
			t.Errorf("left behind: %v", files)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
		}
		if copied := openIn(t, to); !hasKey(t, copied, name) {
			t.Errorf("key %s is not in the backup", name)
		}
	}
}

func TestARelativePathIsOneFromTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("a/b", 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), "a/b/plane.db", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Backup(t.Context(), "a/copy.db"); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"a/b/plane.db", "a/copy.db"} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
