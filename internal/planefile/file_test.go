package planefile

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"plane"
)

const whole = `# the example of the documentation
default: board
apps:
  board:
    command: ["./board", "--listen", "127.0.0.1:{port}"]
    dir: .
    env: { THEME: dark }
    resource_limits: { memory_limit_bytes: 268435456, cpu_period_percent: 50 }
    max_idle_seconds: 300
    lifetime_limit_seconds: 86400
    start_timeout_seconds: 300
    stop_grace_seconds: 30
    data: keep
    lease: balanced
    access: public
    host: preserve
    ports: { metrics: 9100 }
    idle: [requests, holds]
    pool: ""
    egress: none
  draw:
    image: draw:1
  whole:
    image: registry.example/team/app:7
    command: [/serve, --all]
    runtime: oci
    dir: /srv
    pull_policy: Always
    credentials: { username: bob, password: hush }
    mount: shared/models
    network_name: backends
    user: "1000:1000"
    port: 3000
    read_only: true
    gpus: "1"
    ports: { metrics: 9100 }
    egress: [203.0.113.0/24, "198.51.100.7:443"]
`

func TestTheWholeFormIsRead(t *testing.T) {
	dir := t.TempDir()
	f, err := Parse(filepath.Join(dir, Name), []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	n := func(v int32) *int32 { return &v }
	m := func(v int64) *int64 { return &v }
	network := "backends"
	want := map[string]plane.Template{
		"board": {
			Command: []string{filepath.Join(dir, "board"), "--listen", "127.0.0.1:{port}"}, Dir: dir,
			Env: map[string]string{"THEME": "dark"}, Limits: plane.ResourceLimits{MemoryLimitBytes: m(268435456), CPUPeriodPercent: m(50)},
			MaxIdle: n(300), LifetimeLimit: n(86400), StartTimeout: n(300), StopGrace: n(30),
			Data: plane.DataKeep, Lease: plane.Balanced, Access: plane.AccessPublic, Host: plane.HostPreserve,
			Ports: map[string]int{"metrics": 9100}, Idle: []plane.Use{plane.UseRequests, plane.UseHolds}, Egress: "none",
		},
		"draw": {Image: "draw:1"},
		"whole": {
			Image: "registry.example/team/app:7", Command: []string{"/serve", "--all"}, Runtime: plane.RuntimeOCI, Dir: "/srv",
			PullPolicy: plane.PullAlways, Credentials: &plane.Credentials{Username: "bob", Password: "hush"},
			Mount: json.RawMessage(`"shared/models"`), NetworkName: &network, User: "1000:1000", Port: 3000, ReadOnly: true, GPUs: "1",
			Ports: map[string]int{"metrics": 9100}, Egress: "203.0.113.0/24, 198.51.100.7:443",
		},
	}
	if !reflect.DeepEqual(f.Apps, want) {
		t.Errorf("got  %+v\nwant %+v", f.Apps, want)
	}
	if f.Default != "board" || strings.Join(f.Names(), " ") != "board draw whole" {
		t.Error(f.Default, f.Names())
	}
	if got := f.Where("board", "resource_limits.memory_limit_bytes"); !strings.HasSuffix(got, "plane.yaml:8") {
		t.Error(got)
	}
}

func TestWhichAppIsTheDefault(t *testing.T) {
	for text, want := range map[string]string{
		"apps: {a: {image: x}}":                              "a",
		"apps: {a: {image: x}, b: {image: x}}":               "",
		"default: b\napps: {a: {image: x}, b: {image: x}}":   "b",
		"default:\napps: {a: {image: x}}":                    "a",
		"apps: {a: {image: x}, b: {image: x}}\ndefault: 'a'": "a",
	} {
		if f, err := Parse("x/"+Name, []byte(text)); err != nil || f.Default != want {
			t.Errorf("%q: default %q, want %q (%v)", text, f.Default, want, err)
		}
	}
}

func TestDirectoriesAndProgramsAreThoseOfTheFile(t *testing.T) {
	for text, want := range map[string][2]string{
		"{command: [go, run, .]}":                     {"/srv/it", "go"},
		"{command: [./a], dir: sub}":                  {"/srv/it/sub", "/srv/it/sub/a"},
		"{command: [../bin/a], dir: sub}":             {"/srv/it/sub", "/srv/it/bin/a"},
		"{command: [bin/a], dir: /opt/x}":             {"/opt/x", "/opt/x/bin/a"},
		"{command: [/usr/bin/a]}":                     {"/srv/it", "/usr/bin/a"},
		"{command: [a, ./b, '{port}'], dir: ../that}": {"/srv/that", "a"},
	} {
		f, err := Parse("/srv/it/plane.yaml", []byte("apps: {x: "+text+"}"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if x := f.Apps["x"]; x.Dir != want[0] || x.Command[0] != want[1] {
			t.Errorf("%s: %q in %q, want %q", text, x.Command[0], x.Dir, want)
		}
	}
}

func TestAnchorsAliasesAndMergesWork(t *testing.T) {
	f, err := Parse(Name, []byte(`
apps:
  a: &base
    command: &run [serve]
    env: &env { A: "1" }
    max_idle_seconds: 5
  b:
    <<: *base
    max_idle_seconds: 6
  c:
    command: *run
    env: { <<: *env, B: "2" }
  d: *base
`))
	if err != nil {
		t.Fatal(err)
	}
	if *f.Apps["b"].MaxIdle != 6 || f.Apps["b"].Command[0] != "serve" || *f.Apps["d"].MaxIdle != 5 {
		t.Errorf("%+v", f.Apps)
	}
	if e := f.Apps["c"].Env; e["A"] != "1" || e["B"] != "2" {
		t.Errorf("%v", e)
	}
}

// TestMistakesAreNamedWithLineFieldAndRemedy is the list of what people get wrong.
func TestMistakesAreNamedWithLineFieldAndRemedy(t *testing.T) {
	const a = "apps:\n  a:\n    command: [x]\n"
	for text, want := range map[string]string{
		"":                                     "1: The file is empty; write one with `plane init`.",
		"# only this\n":                        "1: The file is empty; write one with `plane init`.",
		"[a]":                                  "1: The file must be a table of names and values that has `apps:`.",
		"apps:\n":                              "1: The file names no app; write `apps:`, below it the name of an app, and below that its command.",
		"command: [x]":                         "1: command belongs to an app; write it below `apps:` and the name of the app.",
		"app: {}":                              `1: There is no field "app" here; did you mean "apps"?`,
		a + "version: 3":                       `4: There is no field "version" here; known are default, apps.`,
		a + "default: b":                       `4: default is "b", which is none of the apps; known are a.`,
		a + "default: [a]":                     "4: default is a list; it must be a text.",
		a + "  a:\n    image: y":               "4: apps.a is given twice, first in line 2; remove one.",
		a + "    dir: 5":                       `4: apps.a.dir is the number 5; it must be a text: put it in quotes, "5".`,
		a + "    comand: [y]":                  `4: There is no field "comand" in apps.a; did you mean "command"?`,
		a + "    idle: []":                     "4: apps.a.idle is an empty list; name something in it or remove it.",
		a + "    idle: [request]":              `4: apps.a.idle has "request"; use requests and holds.`,
		a + "    data: forever":                `4: apps.a.data is "forever"; use none, scratch or keep.`,
		a + "\n\n    max_idle_seconds: -1":     "6: apps.a.max_idle_seconds is -1; it must be at least 0.",
		a + "    max_idle_seconds: 1.5":        "4: apps.a.max_idle_seconds is the number 1.5; it must be a whole number.",
		a + "    max_idle_seconds: 5m":         `4: apps.a.max_idle_seconds is the text "5m"; it must be a whole number.`,
		a + "    max_idle_seconds: 5000000000": "4: apps.a.max_idle_seconds is the number 5000000000; it must be a whole number of at most 32 bits.",
		a + "    env:\n      A: b\n      PORT: 80":              `6: apps.a.env.PORT is the number 80; it must be a text: put it in quotes, "80".`,
		a + "    env:\n      DEBUG: true":                       `5: apps.a.env.DEBUG is the truth value true; it must be a text: put it in quotes, "true".`,
		a + "    env:\n      A:":                                `5: apps.a.env.A has no value; write "" for an empty text.`,
		a + "    env: [A=b]":                                    "4: apps.a.env is a list; it must be a table of names and values.",
		a + "    env: { 'A=': b }":                              `4: apps.a.env has a name or value that no environment can hold: "A=".`,
		a + "    resource_limits:\n      memory: 5":             `5: There is no field "memory" in apps.a.resource_limits; known are cpu_period, cpu_period_percent, cpu_time_limit, memory_limit_bytes, disk_limit_bytes, pids_limit, open_files_limit.`,
		a + "    resource_limits:\n      memory_limit_bytes: 5": "5: apps.a.resource_limits.memory_limit_bytes is 5; it must be from 1048576 to 1125899906842624.",
		a + "    ports: { metrics: 0 }":                         "4: apps.a.ports.metrics is 0; it must be from 1 to 65535.",
		a + "    access: forward-auth":                          `4: apps.a.access is "forward-auth", which this version doesn't have yet; use public or token.`,
		"apps:\n  A: {image: x}":                                `2: app "A": use a-z, then up to 30 of a-z, 0-9 and single '-'.`,
		"apps:\n  a:\n":                                         "2: App a: The app has neither a command nor an image; give one of them.",
		"apps:\n  a: ./server":                                  `2: apps.a is the text "./server"; it must be a table of names and values.`,
		"apps:\n  a:\n    command: ./server --port {port}":      `3: apps.a.command is the text "./server --port {port}"; write it as a list: ["./server", "--port", "{port}"].`,
		"apps:\n  a:\n    command: [sleep, 30]":                 `3: apps.a.command[1] is the number 30; it must be a text: put it in quotes, "30".`,
		"apps:\n  a:\n    command: [x, {}]":                     "3: apps.a.command[1] is a table; it must be a text.",
		"apps:\n  a:\n\tcommand: [x]":                           "3: This is no YAML: found character that cannot start any token. Indent with spaces, not tabs, and put text that begins with a sign in quotes.",
		a + "---\n" + a:                                         "4: The file has a second document (after ---); write all apps in one.",
		"apps: &x\n  a:\n    <<: *x\n":                          `2: There is no field "a" in apps.a; known are`,
		"apps:\n  a: &x\n    <<: *x\n":                          `"<<" brings more than 100 tables into one; write the fields out.`,
		"apps:\n  ? [a]\n  : {image: x}":                        "2: A name must be a text, not a list.",
	} {
		_, err := Parse(Name, []byte(text))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q is taken: %v", text, err)
			continue
		}
		if !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), Name) {
			t.Errorf("%q:\ngot  %s\nwant %s", text, err, want)
		}
		if e.Line > 0 && e.Line > strings.Count(text, "\n")+1 {
			t.Errorf("%q: line %d", text, e.Line)
		}
	}
}

func TestOnlyTheFileOfTheDirectoryIsFound(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	if path, err := Find(dir); path != "" || err != nil {
		t.Error(path, err)
	}
	if _, err := Read(filepath.Join(dir, Name)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "plane init") {
		t.Error(err)
	}
	if err := Write(filepath.Join(dir, Name), whole); err != nil {
		t.Fatal(err)
	}
	if path, err := Find(dir); path != filepath.Join(dir, Name) || err != nil {
		t.Error(path, err)
	}
	if path, err := Find(sub); path != "" || err != nil {
		t.Error("found further up:", path, err)
	}
	if err := Write(filepath.Join(dir, Name), "x"); !errors.Is(err, fs.ErrExist) {
		t.Error("overwritten:", err)
	}
	if f, err := Read(filepath.Join(dir, Name)); err != nil || len(f.Apps) != 3 {
		t.Error(f, err)
	}
	t.Chdir(dir)
	if f, _ := Read(filepath.Join(dir, Name)); f.Where("draw", "image") != "plane.yaml:22" {
		t.Error(f.Where("draw", "image"))
	}
}

func TestTheStarterIsAFileThatIsRight(t *testing.T) {
	for _, s := range []Starter{
		{App: "board", Command: []string{"go", "run", "."}},
		{App: "a", Command: []string{"sh", "-c", `echo "é" $PORT`}, Host: true},
	} {
		f, err := Parse(Name, []byte(s.Text()))
		if err != nil {
			t.Fatalf("%v\n%s", err, s.Text())
		}
		x := f.Apps[s.App]
		if f.Default != s.App || !reflect.DeepEqual(x.Command, s.Command) || (x.Host == plane.HostLocalhost) != s.Host {
			t.Errorf("%+v", f)
		}
	}
	// What is commented out works too.
	text := strings.ReplaceAll(Starter{App: "a", Command: []string{"x"}}.Text(), "\n    # ", "\n    ")
	text = strings.Replace(text, "    The program", "    # The program", 1)
	if _, err := Parse(Name, []byte(text)); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("apps: &x\n  a:\n    <<: *x\n")
	f.Add("apps: {a: {<<: [{image: x}, {image: y}]}}")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		got, err := Parse(Name, []byte(text))
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Message == "") {
			t.Errorf("%v", err)
		}
		for _, name := range got.Names() {
			if bad := got.Apps[name].Check(); bad != nil {
				t.Errorf("%s is taken but wrong: %v", name, bad)
			}
		}
	})
}
