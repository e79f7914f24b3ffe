package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/store/sqlite"
)

// examined is the doctor's findings by check.
func examined(t *testing.T, want int, args ...string) map[string]finding {
	t.Helper()
	code, out, errOut := play(t, append([]string{"doctor", "--json"}, args...)...)
	var said struct {
		OK     bool
		Checks []finding
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil || code != want || said.OK != (want == 0) {
		t.Fatalf("exit %d, want %d: %v\n%s%s", code, want, err, out, errOut)
	}
	all := map[string]finding{}
	for _, f := range said.Checks {
		all[f.Check] = f
		if (f.Remedy == "") != (f.Status == levelOK) || strings.Contains(f.Text+f.Remedy, "\n") {
			t.Errorf("%+v: a remedy, on one line, if and only if something is wrong", f)
		}
		if !strings.HasSuffix(f.Text, ".") {
			t.Errorf("%q is no sentence", f.Text)
		}
	}
	return all
}

func newStore(t *testing.T, dir string, fill func(store.Tx) error) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, storeFile), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(t.Context(), fill); err != nil {
		t.Fatal(err)
	}
}

func TestDoctorFindsAHealthyMachineHealthyAndChangesNothing(t *testing.T) {
	away(t)
	dir := filepath.Join(t.TempDir(), "none")
	all := examined(t, 0, "--data-dir", dir, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0")
	for _, check := range []string{"running", "watchers", "version", "ports", "disk", "store", "files"} {
		if all[check].Status != levelOK {
			t.Errorf("%+v", all[check])
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("looking at the directory made it")
	}
	like(t, must(t, "doctor", "--data-dir", dir, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0"), `((ok|warn) +[a-z]+ +[^\n]+\n){15}`)
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	away(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	broken := t.TempDir()
	newStore(t, broken, func(store.Tx) error { return nil })
	b, err := os.ReadFile(filepath.Join(broken, storeFile))
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(b); i++ { // all pages but the first
		b[i] = 0xaa
	}
	if err := os.WriteFile(filepath.Join(broken, storeFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
	cut := t.TempDir()
	if err := os.WriteFile(filepath.Join(cut, unfinished), []byte("over-there\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lost := t.TempDir()
	newStore(t, lost, func(tx store.Tx) error {
		return tx.InsertVolume(store.Volume{ID: "vol", Name: "doc-17", Drone: "dr-here", Made: true})
	})
	if err := os.WriteFile(filepath.Join(lost, nameFile), []byte("dr-here\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		check, says string
		args        []string
	}{
		{"ports", "is taken", []string{"--data-dir", t.TempDir(), "--proxy", taken.Addr().String(), "--api", "127.0.0.1:0"}},
		{"disk", "Nothing can be written", []string{"--data-dir", "/proc/plane"}},
		{"store", "damaged", []string{"--data-dir", broken}},
		{"store", "cut short", []string{"--data-dir", cut}},
		{"data", "doc-17", []string{"--data-dir", lost}},
	} {
		if f := examined(t, 1, c.args...)[c.check]; f.Status != levelFail || !strings.Contains(f.Text, c.says) {
			t.Errorf("%v: %+v, want %q", c.args, f, c.says)
		}
	}
	if code, _, errOut := play(t, "doctor", "--data-dir", broken); code != 1 || strings.Count(errOut, "\n") != 1 {
		t.Errorf("exit %d %q", code, errOut)
	}
}

func TestDoctorWarnsOfTimesInTheFuture(t *testing.T) {
	away(t)
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, storeFile), sqlite.Options{Now: func() time.Time { return time.Now().Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.PutDrone(store.Drone{Name: "dr-x", Cluster: "localhost:9090", Epochs: plane.Epochs{1, 1, 1}}); err != nil {
			return err
		}
		return tx.InsertEvent(store.Event{Kind: "join", Text: "x"})
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	f := examined(t, 0, "--data-dir", dir, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0")["clock"]
	if f.Status != levelWarn || !strings.Contains(f.Text, "future") {
		t.Errorf("%+v", f)
	}
}
