package clustertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// project is a working directory with files.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startIn runs `plane dev` in a project, on ports of its own.
func startIn(t *testing.T, dir string, args ...string) *Dev {
	t.Helper()
	d := &Dev{DataDir: filepath.Join(t.TempDir(), "data")}
	d.Part = Start(t, dir, nil, append([]string{"dev", "--json", "--data-dir", d.DataDir, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0"}, args...)...)
	t.Cleanup(func() { _ = d.Stop(20 * time.Second) })
	d.AwaitListening()
	return d
}

func (d *Dev) event(what string, match func(Event) bool) Event {
	d.t.Helper()
	e, err := d.Await(30*time.Second, match)
	if err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
	return e
}

func (d *Dev) env(key string) map[string]string {
	d.t.Helper()
	code, body := d.get(key, "/env")
	if code != http.StatusOK {
		d.t.Fatalf("%s: %d %s", key, code, body)
	}
	var all map[string]string
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		d.t.Fatal(err)
	}
	return all
}

// awaitAnother waits until the backend that was there is followed by one of its key.
func (d *Dev) awaitAnother(key string, was echoState) {
	d.t.Helper()
	await(d.t, 30*time.Second, "another backend of "+key, func() bool { return d.state(key).PID != was.PID })
}

func TestAppsOfTheFileAreServedEachUnderItsName(t *testing.T) {
	t.Parallel()
	dir := project(t, map[string]string{"plane.yaml": fmt.Sprintf(`
default: board
apps:
  board:
    command: [%q]
    env: { THEME: dark }
  draw:
    command: [%q]
    env: { THEME: light }
`, Build(t).Echo, Build(t).Echo)})
	d := startIn(t, dir)
	for key, theme := range map[string]string{"doc": "dark", "doc--draw": "light", "doc--board": "dark"} {
		if got := d.env(key)["THEME"]; got != theme {
			t.Errorf("%s has THEME %q, want %q", key, got, theme)
		}
	}
	if n := len(d.Backends()); n != 2 {
		t.Errorf("%d backends, want 2", n)
	}
}

// A directory that had a command yesterday and has a file today: nothing of the
// former is served.
func TestAFileTakesThePlaceOfACommand(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	was := d.state("k")
	d.Kill()
	write(t, filepath.Join(d.Dir, "plane.yaml"), fmt.Sprintf("apps:\n  a: { command: [%q] }\n  b: { command: [%q] }\n", Build(t).Echo, Build(t).Echo))
	d.Args = d.Args[:len(d.Args)-2]
	d.Restart()
	d.AwaitListening()
	await(t, 30*time.Second, "the former command has ended", func() bool { return !alive(was.PID) })
	if code, body := d.get("k", "/state"); code != http.StatusNotFound {
		t.Errorf("a key of no app: %d %s", code, body)
	}
	d.state("k--a")
}

// The file is all there is: what it no longer has isn't served, and applying it
// unchanged is no change, whatever --idle says.
func TestTheFileIsAllThereIs(t *testing.T) {
	t.Parallel()
	app := func(name string) string { return fmt.Sprintf("  %s: { command: [%q] }\n", name, Build(t).Echo) }
	dir := project(t, map[string]string{"plane.yaml": "apps:\n" + app("gone") + app("here")})
	d := startIn(t, dir, "--watch", ".")
	gone, here := d.state("k--gone"), d.state("k--here")
	unchanged := func() {
		t.Helper()
		p := Start(t, dir, nil, "apply", "--json", "--controller", d.API)
		if err := p.WaitExit(20 * time.Second); err != nil || p.ExitCode() != 0 {
			t.Fatal(err, p.Stderr())
		}
		for _, name := range []string{"here", "gone"} {
			var v struct{ Release int64 }
			if code := d.ctrl("/ctrl/apps/"+name, &v); code != http.StatusOK || v.Release != 1 {
				t.Errorf("%s: %d, release %d", name, code, v.Release)
			}
		}
	}
	unchanged()

	write(t, filepath.Join(dir, "plane.yaml"), "apps:\n"+app("here"))
	d.event("its end told", func(e Event) bool { return e.Event == "changed" && e.App == "gone" && e.Key == "k" })
	await(t, 30*time.Second, "it has ended", func() bool { return !alive(gone.PID) })
	if code, body := d.get("k--gone", "/state"); code != http.StatusNotFound {
		t.Errorf("what the file no longer has: %d %s", code, body)
	}
	d.Kill()
	d.Args = append(d.Args, "--idle", "1h")
	d.Restart()
	d.AwaitListening()
	if code, body := d.get("k--gone", "/state"); code != http.StatusNotFound {
		t.Errorf("after a restart: %d %s", code, body)
	}
	if now := d.state("k--here"); now != here {
		t.Error("replaced for another --idle")
	}
	unchanged()
}

// ctrl reads the API.
func (d *Dev) ctrl(path string, v any) int {
	d.t.Helper()
	resp, err := apiClient.Get(d.API + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode
}

func TestABrokenFileIsSaidWithItsLine(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"apps:\n  a:\n    comand: [x]\n":                  `plane.yaml:3: There is no field "comand"`,
		"apps:\n  a:\n    command: [no-such-program]\n":   `plane.yaml:3: command "no-such-program" not found`,
		"apps:\n  a:\n    command: [sh]\n    dir: nope\n": `plane.yaml:4: there is no directory `,
	} {
		p := Start(t, project(t, map[string]string{"plane.yaml": text}), nil,
			"dev", "--data-dir", t.TempDir(), "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0")
		if err := p.WaitExit(20 * time.Second); err != nil {
			t.Fatal(err)
		}
		if p.ExitCode() != 1 || !strings.Contains(p.Stderr(), says) {
			t.Errorf("exit %d: %s", p.ExitCode(), p.Stderr())
		}
	}
}

func TestWithNeitherCommandNorFileThereIsAWhiteboard(t *testing.T) {
	t.Parallel()
	d := startIn(t, t.TempDir())
	if code, body := d.get("sketch", "/"); code != http.StatusOK || !strings.Contains(body, "<canvas") {
		t.Errorf("%d %s", code, body)
	}
}

func TestAChangeReplacesTheBackendsOfItsApp(t *testing.T) {
	t.Parallel()
	file := func(theme string) string {
		return fmt.Sprintf("default: a\napps:\n  a: { command: [%q], dir: a, env: { THEME: %s } }\n  b: { command: [%q], dir: b }\n", Build(t).Echo, theme, Build(t).Echo)
	}
	dir := project(t, map[string]string{"plane.yaml": file("dark"), "a/page.html": "1", "b/page.html": "1"})
	d := startIn(t, dir, "--watch", ".")
	a, b := d.state("k"), d.state("k--b")

	write(t, filepath.Join(dir, "a", ".hidden"), "2") // nobody's business
	write(t, filepath.Join(dir, "a", "page.html"), "2")
	e := d.event("change told", func(e Event) bool { return e.Event == "changed" && e.App == "a" })
	if e.Path != "a/page.html" || e.Replaced != 1 {
		t.Errorf("%+v", e)
	}
	d.awaitAnother("k", a)
	if now := d.state("k--b"); now != b {
		t.Error("b was replaced for a change of a")
	}

	write(t, filepath.Join(dir, "plane.yaml"), "apps: [")
	d.event("broken file told", func(e Event) bool { return e.Event == "warning" && strings.Contains(e.Output, "plane.yaml:1") })
	if got := d.env("k")["THEME"]; got != "dark" {
		t.Errorf("THEME %q", got)
	}
	write(t, filepath.Join(dir, "plane.yaml"), file("light"))
	d.event("replacement named", func(e Event) bool { return e.Event == "changed" && e.Key == "k" && e.Replaced == 1 })
	await(t, 20*time.Second, "the new release runs", func() bool { return d.env("k")["THEME"] == "light" })
	if now := d.state("k--b"); now != b {
		t.Error("b was replaced for a release of a")
	}
}

func TestTheProgramItselfIsWatched(t *testing.T) {
	t.Parallel()
	echo, err := os.ReadFile(Build(t).Echo)
	if err != nil {
		t.Fatal(err)
	}
	dir := project(t, map[string]string{"src/main.go": "x"})
	install := func() {
		t.Helper()
		program := filepath.Join(dir, "server")
		if err := os.WriteFile(program+".new", echo, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(program+".new", program); err != nil {
			t.Fatal(err)
		}
	}
	install()
	d := startIn(t, dir, "--watch", "src", "--", "./server")
	was := d.state("k")
	install()
	d.event("change told", func(e Event) bool { return e.Event == "changed" && e.Path == "server" && e.Replaced == 1 })
	d.awaitAnother("k", was)
}

func TestWhatRunsAChangedCommandIsReplacedByTheNextDev(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	was := d.state("k")
	d.Kill()
	d.Args = append(d.Args, "--slow-start", "1ms")
	d.Restart()
	d.AwaitListening()
	d.event("named", func(e Event) bool { return e.Event == "changed" && e.Key == "k" && e.Replaced == 1 })
	d.awaitAnother("k", was)
	now := d.state("k")
	d.Kill()
	d.Restart()
	d.AwaitListening()
	if again := d.state("k"); again != now {
		t.Error("replaced without a change")
	}
}

func TestUnusedBackendsEndAndTheNumberOfBackendsIsBounded(t *testing.T) {
	t.Parallel()
	d := StartDev(t, []string{"--idle", "1s", "--max-backends", "1"}, Build(t).Echo)
	d.state("one")
	if code, body := d.get("two", "/state"); code != http.StatusServiceUnavailable || !strings.Contains(body, "1") {
		t.Errorf("a second backend: %d %s", code, body)
	}
	d.event("idle", func(e Event) bool { return e.Event == "idle" && e.Key == "one" })
	d.event("ended", func(e Event) bool { return e.Event == "ended" && e.Key == "one" })
	d.state("two")
}

func TestACrashLoopIsToldWithItsEnd(t *testing.T) {
	t.Parallel()
	d := StartDev(t, []string{"--quiet"}, Build(t).Echo, "--flood", "1", "--exit", "3")
	for range 6 {
		_, _, _ = tryGet(d.Proxy, "sick", "/")
	}
	e := d.event("crash loop", func(e Event) bool { return e.Event == "crash_loop" && e.Key == "sick" })
	if until, err := time.Parse(time.RFC3339, e.Until); err != nil || time.Until(until) > time.Minute || e.Output == "" {
		t.Errorf("%+v %v", e, err)
	}
	ends := 0
	for _, e := range d.Events() {
		switch e.Event {
		case "output":
			t.Errorf("quiet, and yet %+v", e)
		case "ended":
			ends++
			if e.Output == "" {
				t.Errorf("it never was ready, and its last output isn't told: %+v", e)
			}
		}
	}
	if ends < 5 {
		t.Errorf("%d ends", ends)
	}
}

// Two projects, each with `plane dev` as a newcomer types it: no flag, the same
// key, one state directory.
func TestASecondProjectRunsBesideTheFirstWithoutAFlag(t *testing.T) {
	t.Parallel()
	state := []string{"XDG_STATE_HOME=" + t.TempDir()}
	var devs []*Dev
	var dirs []string
	for range 2 {
		dir := t.TempDir()
		d := &Dev{Part: Start(t, dir, state, "dev", "--json", "--", Build(t).Echo)}
		t.Cleanup(func() { _ = d.Stop(20 * time.Second) })
		d.AwaitListening()
		devs, dirs = append(devs, d), append(dirs, dir)
	}
	if devs[0].API == devs[1].API || devs[0].Proxy == devs[1].Proxy {
		t.Fatalf("the same ports: %v %v", devs[0], devs[1])
	}
	ports := map[string]bool{}
	for i, d := range devs {
		for k := range 10 {
			port := d.env(fmt.Sprintf("k-%d", k))["PORT"]
			if ports[port] {
				t.Errorf("port %s was given twice", port)
			}
			ports[port] = true
		}
		d.state(fmt.Sprintf("only-%d", i))
	}
	for i, dir := range dirs {
		code, out, errOut := cliIn(t, dir, state, "ls", "--json")
		var page struct{ Backends []Backend }
		if err := json.Unmarshal([]byte(out), &page); code != 0 || err != nil {
			t.Fatal(code, err, out, errOut)
		}
		mine := 0
		for _, b := range page.Backends {
			if strings.HasPrefix(b.Key.Name, "only-") {
				mine++
				if b.Key.Name != fmt.Sprintf("only-%d", i) {
					t.Errorf("directory %d shows %s", i, b.Key.Name)
				}
			}
		}
		if mine != 1 || len(page.Backends) != 11 {
			t.Errorf("directory %d: %s", i, out)
		}
		if code, out, errOut := cliIn(t, dir, state, "doctor"); code != 0 || !strings.Contains(out, "are ours") {
			t.Errorf("doctor in directory %d: exit %d\n%s%s", i, code, out, errOut)
		}
	}
}
