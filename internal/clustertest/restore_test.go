package clustertest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cli runs one command of the binary to its end.
func cli(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return cliIn(t, dir, nil, args...)
}

func cliIn(t *testing.T, dir string, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command(Build(t).Plane, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errOut
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// does is a command that has to succeed.
func does(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errOut := cli(t, t.TempDir(), args...)
	if code != 0 {
		t.Fatalf("plane %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// refuses is a command that has to fail with a sentence.
func refuses(t *testing.T, words string, args ...string) {
	t.Helper()
	code, out, errOut := cli(t, t.TempDir(), args...)
	if code != 1 || !strings.Contains(errOut, words) || strings.Count(strings.TrimSpace(errOut), "\n") > 0 {
		t.Errorf("plane %s: exit %d, want 1 and %q\n%s%s", strings.Join(args, " "), code, words, out, errOut)
	}
}

// start makes n backends and returns their states and generations by key.
func (d *Dev) start(prefix string, n int) (map[string]echoState, map[string]int64) {
	d.t.Helper()
	states, generations := map[string]echoState{}, map[string]int64{}
	for i := range n {
		key := fmt.Sprintf("%s-%d", prefix, i)
		if code, _, err := do(http.MethodPost, d.Proxy, key, "/state"); code != http.StatusOK {
			d.t.Fatal(code, err)
		}
		states[key] = d.state(key)
	}
	for _, b := range d.Backends() {
		if _, ok := states[b.Key.Name]; ok {
			generations[b.Key.Name] = b.Generation
		}
	}
	return states, generations
}

func TestABackupTakenWhileBackendsLiveIsRestoredAndGenerationsRise(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	_, _ = d.start("early", 20)
	file := filepath.Join(t.TempDir(), "it.plane")
	does(t, "backup", file, "--data-dir", d.DataDir)
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatal(st, err)
	}
	refuses(t, "--force", "backup", file, "--data-dir", d.DataDir)
	does(t, "backup", file, "--force", "--data-dir", d.DataDir)
	_, late := d.start("late", 3) // the backup knows nothing of them

	refuses(t, "in use", "restore", file, "--data-dir", d.DataDir)
	if len(d.Backends()) != 23 {
		t.Fatal("the refused restore ended something")
	}
	if err := d.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	out := does(t, "restore", file, "--data-dir", d.DataDir)
	asides, err := filepath.Glob(filepath.Join(d.DataDir, "before-restore-*"))
	if err != nil || len(asides) != 1 || !strings.Contains(out, asides[0]) {
		t.Errorf("put aside %v, said %q", asides, out)
	}
	d.Restart()
	d.AwaitListening()
	if code, body := d.get("late-0", "/state"); code != http.StatusOK || !strings.Contains(body, `"count":0`) {
		t.Errorf("%d %s", code, body)
	}
	for _, b := range d.Backends() {
		if b.Key.Name == "late-0" && b.Generation <= late["late-0"] {
			t.Errorf("generation %d came again after %d", b.Generation, late["late-0"])
		}
	}
	await(t, 30*time.Second, "what the backup believed to live has ended", func() bool { return len(d.Backends()) == 1 })
}

func TestABackupMovesToAnotherMachine(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	d.start("key", 2)
	file := filepath.Join(t.TempDir(), "it.plane")
	does(t, "backup", file, "--data-dir", d.DataDir) // the store believes that two live
	if err := d.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	does(t, "backup", file+"-2", "--data-dir", d.DataDir) // nothing runs
	d.DataDir = filepath.Join(t.TempDir(), "new")
	does(t, "restore", file, "--data-dir", d.DataDir)
	if left, _ := filepath.Glob(filepath.Join(d.DataDir, "*restore*")); len(left) > 0 {
		t.Errorf("left in a directory that was empty: %v", left)
	}
	for i, a := range d.Args {
		if a == "--data-dir" {
			d.Args[i+1] = d.DataDir
		}
	}
	d.Restart()
	d.AwaitListening()
	d.state("key-0")
}

func TestAStoreRestoredUnderLiveBackendsAdoptsThemAll(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	file := filepath.Join(t.TempDir(), "it.plane")
	before, _ := d.start("before", 3)
	does(t, "backup", file, "--data-dir", d.DataDir)
	after, generations := d.start("after", 3)
	d.Kill()
	refuses(t, "6 backends of ", "restore", file, "--data-dir", d.DataDir)
	if out := does(t, "restore", file, "--store-only", "--data-dir", d.DataDir); !strings.Contains(out, "taken over") {
		t.Errorf("said %q", out)
	}
	d.Restart()
	d.AwaitListening()
	await(t, 30*time.Second, "six backends", func() bool { return len(d.Backends()) == 6 })
	for _, states := range []map[string]echoState{before, after} {
		for key, s := range states {
			if got := d.state(key); got != s {
				t.Errorf("%s was %+v, is %+v", key, s, got)
			}
		}
	}
	for _, b := range d.Backends() {
		if g, ok := generations[b.Key.Name]; ok && g != b.Generation {
			t.Errorf("%s has generation %d, had %d", b.Key.Name, b.Generation, g)
		}
		if n := len(marked(t, b.BackendID)); n != 1 {
			t.Errorf("%s runs %d times", b.Key.Name, n)
		}
	}
	// One that ends is followed by a later generation, once leases of others,
	// which there might be, have run out.
	_, err := connect(d.API, "new", Build(t).Echo)
	if err == nil || !strings.Contains(err.Error(), "restored") {
		t.Errorf("a new key was started at once: %v", err)
	}
}

func TestADamagedBackupChangesNothing(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	d.start("key", 1)
	if err := d.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "it.plane")
	does(t, "backup", file, "--data-dir", d.DataDir)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	was := listing(t, d.DataDir)
	for name, text := range map[string][]byte{"short": whole[:len(whole)-20], "half": whole[:len(whole)/2], "flipped": flipped, "letter": []byte("dear aunt")} {
		bad := filepath.Join(dir, name)
		if err := os.WriteFile(bad, text, 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, "nothing was changed", "restore", bad, "--data-dir", d.DataDir)
	}
	refuses(t, "no file", "restore", filepath.Join(dir, "none"), "--data-dir", d.DataDir)
	if is := listing(t, d.DataDir); is != was {
		t.Errorf("was\n%s\nis\n%s", was, is)
	}
}

// listing is everything in a data directory that a restore exchanges.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || strings.HasSuffix(path, ".lock") || strings.HasSuffix(path, ".log") {
			return err
		}
		info, err := e.Info()
		if err == nil && !e.IsDir() {
			fmt.Fprintln(&s, path, info.Size(), info.ModTime(), info.Sys().(*syscall.Stat_t).Ino)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// Drones and controllers have directories of their own: the controller's is put
// back while the drone, which knows nothing of it, runs on.
func TestAControllersStoreIsRestoredUnderItsDrone(t *testing.T) {
	t.Parallel()
	a := StartApart(t)
	file := filepath.Join(t.TempDir(), "it.plane")
	does(t, "backup", file, "--data-dir", a.DataDir+"/controller")
	later, err := connect(a.API, "later", Build(t).Echo)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, "in use", "restore", file, "--data-dir", a.DataDir+"/controller")
	a.Controller.Kill()
	does(t, "restore", file, "--data-dir", a.DataDir+"/controller")
	a.Controller.Restart()
	a.AwaitHealth(t)
	await(t, 30*time.Second, "the backend that the store doesn't know is adopted", func() bool {
		for _, b := range ListBackends(t, a.API) {
			if b.BackendID == later.BackendID {
				return b.Generation == later.Generation
			}
		}
		return false
	})
	if again, err := connect(a.API, "later"); err != nil || again.BackendID != later.BackendID || again.Spawned {
		t.Errorf("%+v %v", again, err)
	}
}
