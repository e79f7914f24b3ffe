package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bundled are the files of a support bundle, by name.
func bundled(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st, err)
	}
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		b, err2 := io.ReadAll(r)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(h.Name, "plane-support/")] = string(b)
	}
}

func TestASupportBundleHoldsWhatHelpsAndNoSecrets(t *testing.T) {
	site(t)
	written(t, strings.Replace(twoApps, "data: keep", "data: keep\n    env: { PASSWORD: hunter2 }", 1))
	_, _, _ = play(t, "apply") // it warns
	must(t, "connect", "board/doc-1")
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "it.tar.gz")
	log := "begins\n" + strings.Repeat("x", bundledLog) + "\nends\n"
	if err := os.WriteFile(filepath.Join(dir, "dev.log"), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PLANE_DATA_DIR", dir)
	like(t, must(t, "support-bundle", file), `.*it.tar.gz: 7 files; look through it before you send it\n`)
	all := bundled(t, file)
	for name, want := range map[string]string{
		"version.json": `"go":`, "doctor.json": `"check": "disk"`, "controller.json": `"version":`,
		"apps.json": `"PASSWORD": "***"`, "backends.json": "doc-1", "events.json": `"connect"`, "logs/dev.log": "x\nends\n",
	} {
		if !strings.Contains(all[name], want) {
			t.Errorf("%s has no %s: %.300s", name, want, all[name])
		}
		if strings.HasSuffix(name, ".json") && !json.Valid([]byte(all[name])) {
			t.Errorf("%s is no JSON", name)
		}
		if strings.Contains(all[name], "hunter2") {
			t.Errorf("%s tells a secret", name)
		}
	}
	if strings.Contains(all["logs/dev.log"], "begins") {
		t.Error("all of a large log is in it")
	}
	fails(t, 1, "overwrite it with --force", "support-bundle", file)

	t.Setenv("PLANE_CONTROLLER", "http://127.0.0.1:1")
	out := must(t, "support-bundle", file, "--force", "--json")
	var said struct{ Holds, Missing []string }
	if err := json.Unmarshal([]byte(out), &said); err != nil || len(said.Holds) != 3 || len(said.Missing) != 1 || !strings.HasPrefix(said.Missing[0], "controller: ") {
		t.Errorf("%v %s", err, out)
	}
}
