package datadir_test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plane"
	"plane/internal/runtime"
	"plane/internal/runtime/datadir"
)

func open(base, mount string, change ...func(*runtime.Unit)) (*datadir.Dir, error) {
	u := runtime.Unit{Key: plane.Key{Name: "../.."}, Executable: plane.Executable{Mount: json.RawMessage(mount)}}
	for _, c := range change {
		c(&u)
	}
	d, err := datadir.Open(u, base, slog.New(slog.DiscardHandler))
	if d != nil {
		_ = d.Close()
	}
	return d, err
}

func TestTrap42_MountsStayBelowTheBase(t *testing.T) {
	base, outside := t.TempDir(), t.TempDir()
	for mount, want := range map[string]string{`"a"`: "a", `"a/b/c"`: "a/b/c", `true`: plane.Key{Name: "../.."}.Hash()} {
		for i := range 2 {
			d, err := open(base, mount)
			if err != nil || d.Path != filepath.Join(base, want) || d.Fresh && i > 0 {
				t.Fatalf("%s: %+v, %v", mount, d, err)
			}
			if st, err := os.Lstat(d.Path); err != nil || !st.IsDir() {
				t.Errorf("%s: %v", mount, err)
			}
		}
	}
	for name, to := range map[string]string{"out": outside, "a/out": outside, "in": filepath.Join(base, "a"), "rel": "a", "dangling": "new"} {
		if err := os.Symlink(to, filepath.Join(base, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(base, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mount := range []string{`"out"`, `"out/x"`, `"a/out"`, `"a/out/x"`, `"in"`, `"in/b"`, `"rel"`, `"rel/new"`, `"dangling"`, `"file"`, `"file/x"`, `"../x"`, `"a/../../x"`, `"/etc"`, `".a"`, `""`, `7`} {
		if d, err := open(base, mount); err == nil && (d != nil || mount != `""`) || err != nil && !strings.Contains(err.Error(), "spawn_config.executable.mount") {
			t.Errorf("%s: %+v, %v", mount, d, err)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("made outside: %v", left)
	}
	if left, _ := os.ReadDir(filepath.Join(base, "new")); left != nil {
		t.Error("a link led to a directory that was made")
	}
}

func TestDataIsTheAppsOrAMountOrNone(t *testing.T) {
	data := t.TempDir()
	with := func(u *runtime.Unit) { u.Data, u.DataNew = data, true }
	if d, err := open("", "false", with); err != nil || d.Path != data || !d.Fresh {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := open(t.TempDir(), "true", with); err == nil || !strings.Contains(err.Error(), "leave one of them out") {
		t.Errorf("both: %v", err)
	}
	for _, mount := range []string{"false", "null", "true"} {
		if d, err := open("", mount); d != nil || err != nil {
			t.Errorf("%s without a base: %+v, %v", mount, d, err)
		}
	}
	if _, err := open(t.TempDir(), "true", func(u *runtime.Unit) { u.Key = plane.Key{} }); err == nil || !strings.Contains(err.Error(), "no key") {
		t.Errorf("without a key: %v", err)
	}
	if _, err := open(filepath.Join(data, "nowhere"), "true"); err == nil || !strings.Contains(err.Error(), "--mount-base") {
		t.Errorf("a base that isn't there: %v", err)
	}
}
