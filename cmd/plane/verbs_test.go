package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plane/client"
	"plane/internal/api"
	"plane/internal/api/apitest"
	"plane/internal/controller"
)

// printed is what a command has printed so far.
type printed struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.String()
}

// play runs one command line in process.
func play(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, errOut printed
	code = execute(ctx, args, &out, &errOut)
	return code, out.String(), errOut.String()
}

// must runs a command line that has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errOut := play(t, args...)
	if code != 0 || errOut != "" {
		t.Fatalf("plane %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// fails runs a command line that has to fail with code and say words.
func fails(t *testing.T, code int, words string, args ...string) {
	t.Helper()
	got, out, errOut := play(t, args...)
	if got != code || !strings.Contains(errOut, words) {
		t.Errorf("plane %s: exit %d, want %d and %q\nstdout: %s\nstderr: %s", strings.Join(args, " "), got, code, words, out, errOut)
	}
}

func like(t *testing.T, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(`(?s)^` + pattern + `$`).MatchString(got) {
		t.Errorf("got\n%s\nwant\n%s", got, pattern)
	}
}

func away(t *testing.T) {
	t.Helper()
	t.Setenv("PLANE_CONTROLLER", "")
	t.Setenv("PLANE_API_KEY", "")
	t.Setenv("XDG_STATE_HOME", t.TempDir())
}

func site(t *testing.T) *apitest.Site {
	t.Helper()
	away(t)
	s := apitest.New(t, api.Options{Insecure: true})
	s.StartDrone(t, nil)
	t.Setenv("PLANE_CONTROLLER", s.URL)
	return s
}

func TestVerbsFromStartToEnd(t *testing.T) {
	site(t)
	like(t, must(t, "connect", "doc-17", "--tag", "v1", "--user", "alice", "--auth", `{"role":"editor"}`, "--max-idle", "5m", "--id", "one", "--", "/bin/echo", "--loud"),
		`http://localhost:9090/[\w-]+/\n\nkey         doc-17\nkey URL     none: only backends of an app have one\nbackend     one \(started on dr-scripted\)\ngeneration  #\d+\nstatus      ready\n`)
	like(t, must(t, "connect", "doc-17", "--tag", "v1"), `.*backend     one \(found\)\n.*`)
	like(t, must(t, "connect", "doc-17", "--tag", "v1", "--token-lifetime", "1m"), `.*URL works until +20\d\d-.*`)
	must(t, "connect", "team/doc", "--id", "two", "--", "/bin/echo")

	like(t, must(t, "ls"), `KEY       STATUS  SINCE +CONNS  CPU  MEMORY  DRONE        BACKEND\n`+
		`doc-17    ready   [\d.]+s +0      -    -       dr-scripted  one\n`+
		`team/doc  ready   [\d.]+s +0      -    -       dr-scripted  two\n`)
	like(t, must(t, "ls", "--namespace", "team"), `KEY [^\n]*\nteam/doc [^\n]*\n`)
	like(t, must(t, "ls", "do"), `KEY [^\n]*\ndoc-17 [^\n]*\nteam/doc [^\n]*\n`)
	like(t, must(t, "status", "doc-17"), `key +doc-17 \(tag v1\)\nbackend +one\ngeneration +#\d+\nstatus +ready, for [\d.]+s\ncluster +localhost:9090\ndrone +dr-scripted\nconnections +0\n.*`)
	like(t, must(t, "status", "--id", "two"), `key +team/doc\n.*`)
	like(t, must(t, "logs", "doc-17"), `first\nsecond\n\nfourth .*`)
	like(t, must(t, "logs", "doc-17", "--follow"), `first\nsecond\n\nfourth .*`)
	like(t, must(t, "why", "team/doc"), `team/doc is ready since [\d:]+ \([\d.]+s ago\)\. Nobody uses it.*backend +two, generation #\d+\n.*Why there: .*GENERATION .*`)
	like(t, must(t, "explain", "--id", "two"), `team/doc is ready .*`)

	like(t, must(t, "stop", "doc-17", "team/doc"), `doc-17 \(one\) has ended after [\d.]+s: by SIGTERM, because someone asked for it\nteam/doc \(two\) has ended .*`)
	fails(t, 1, `Nothing runs for key "doc-17".`, "stop", "doc-17")
	like(t, must(t, "ls"), `Nothing runs\. \(--all lists what has ended\.\)\n`)
	like(t, must(t, "ls", "foo"), `Nothing that runs matches\. [^\n]*\n`)
	like(t, must(t, "ls", "foo", "--all"), `No backend matches\.\n`)
	like(t, must(t, "ls", "foo", "--json"), `{\n  "backends": \[\]\n}\n`)
	like(t, must(t, "ls", "--all"), `KEY [^\n]*\ndoc-17 +terminated [^\n]*\nteam/doc [^\n]*\n`)
	like(t, must(t, "status", "doc-17"), `key .*status +terminated, for .*ended +by SIGTERM, because someone asked for it\nlast output\n  bye\n`)
	like(t, must(t, "status", "doc-17", "--follow"), `(20\d\d-\d\d-\d\d [\d:.]+  [a-z]+(: someone asked for it)?\n){7}`)
	like(t, must(t, "why", "doc-17"), `Nothing runs for doc-17\.\n\nThe last one \(generation #\d+\) ended at [^\n]*: by SIGTERM, because someone asked for it \(loopback\)\.\nIts last output:\n  bye\n.*`)
	like(t, must(t, "events"), `( +\d+  20\d\d-[^\n]+\n)+`)
}

func TestNothingFoundExitsWithOneAndMisuseWithTwo(t *testing.T) {
	s := site(t)
	for _, args := range [][]string{
		{"status", "nobody"},
		{"logs", "nobody"},
		{"stop", "nobody"},
		{"why", "nobody"},
		{"status", "--id", "nobody"},
		{"status", "--id", "nobody", "--follow"},
		{"logs", "--id", "nobody"},
		{"logs", "-f", "--id", "nobody"},
		{"stop", "--id", "nobody"},
		{"why", "--id", "nobody"},
		{"node", "drain", "dr-nobody"},
		{"node", "rm", "dr-nobody"},
		{"api-key", "rm", "ap-nobody"},
		{"connect", "nobody"},
		{"status", "nobody", "--json"},
	} {
		if code, out, errOut := play(t, args...); code != 1 || out != "" || errOut == "" {
			t.Errorf("plane %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errOut)
		}
	}
	for _, args := range [][]string{
		{"status"},
		{"status", "a", "b"},
		{"status", "a", "--id", "b"},
		{"stop"},
		{"why"},
		{"logs", "a", "--tail", "-1"},
		{"logs", "a", "--tail", "x"},
		{"ls", "a", "b"},
		{"ls", "--nothing"},
		{"nothing"},
		{"node"},
		{"node", "nothing"},
		{"node", "drain"},
		{"api-key", "create", "x"},
		{"api-key", "create"},
		{"events", "--since", "-1"},
		{"version", "x"},
		{"connect", "a", "b"},
		{"connect", "a", "--auth", "[]"},
		{"connect", "a", "--env", "x", "--", "y"},
		{"connect", "a", "--mount", "docs"},
		{"connect", "a", "--dir", "."},
		{"admin"},
		{"admin", "connect"},
		{"admin", "terminate"},
		{"admin", "drain", "--cluster", "c"},
	} {
		if code, _, errOut := play(t, args...); code != 2 || !strings.HasSuffix(errOut, "for usage.\n") {
			t.Errorf("plane %s: exit %d\n%s", strings.Join(args, " "), code, errOut)
		}
	}
	s.Close()
	fails(t, 1, "plane dev -- COMMAND", "ls")
	fails(t, 1, `controller URL "ftp://x"`, "ls", "--controller", "ftp://x")
}

func TestAWrongWordSuggestsTheRightOne(t *testing.T) {
	away(t)
	for word, want := range map[string]string{
		"stauts": "status", "log": "logs", "rm": "stop", "ps": "ls", "kill": "stop", "delete": "stop", "run": "dev", "up": "dev", "stats": "status",
		"explode-it-now": "", "dat": "data", "apikey": "api-key",
	} {
		text := fmt.Sprintf("unknown command %q for \"plane\"", word)
		if want != "" {
			text += fmt.Sprintf("; did you mean %q?\n", want)
		}
		fails(t, 2, text, word, "a")
	}
	fails(t, 2, `stop the key with "plane stop KEY"`, "restart", "a")
	fails(t, 2, `did you mean "rm"?`, "node", "delete")
	fails(t, 2, `did you mean "abandon"?`, "data", "rm")
	fails(t, 2, `did you mean "ls"?`, "node", "ps")
	fails(t, 2, `did you mean "undrain"?`, "node", "undrian")
	fails(t, 2, "did you mean --follow?", "logs", "x", "--folow")
	fails(t, 2, `did you mean "cluster-state"?`, "admin", "cluster-sate")
}

func TestALongKeyLeavesTheTableReadable(t *testing.T) {
	site(t)
	long := "team/" + strings.Repeat("a", 100) + strings.Repeat("z", 100)
	must(t, "connect", long, "--", "/bin/echo")
	like(t, must(t, "ls"), `KEY [^\n]+\nteam/a{42}…z{24}  ready [^\n]+\n`)
	for _, whole := range []string{"--wide", "-w", "--json"} {
		if out := must(t, "ls", whole); !strings.Contains(out, strings.TrimPrefix(long, "team/")) {
			t.Errorf("ls %s:\n%s", whole, out)
		}
	}
}

func TestAWrongValueIsAnsweredWithTheAllowedOnes(t *testing.T) {
	away(t)
	fails(t, 2, `plane: --since "1x" must be a whole number`, "events", "--since", "1x")
	fails(t, 2, `plane: --since 99999999999999999999 is out of range`, "events", "--since", "99999999999999999999")
	fails(t, 2, `plane: --interval "1" must be a time such as 30s, 5m or 1h30m`, "top", "--interval", "1")
	for _, s := range []string{"10.213.0.0", "10.213.0.0/29", "2001:db8::/64", "x"} {
		fails(t, 2, `plane: --egress-range "`+s+`": use a range of IPv4 with 16 addresses or more`, "dev", "--egress-range", s, "--", "true")
	}
	fails(t, 2, `plane: --json "maybe" must be true or false`, "ls", "--json=maybe")
}

// Backquotes in a usage text name the value: a phrase there is a mistake.
func TestHelpNamesEachFlagsValueWithOneWord(t *testing.T) {
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if name, _ := pflag.UnquoteUsage(f); strings.Contains(name, " ") {
				t.Errorf("%s --%s %q", cmd.CommandPath(), f.Name, name)
			}
		})
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(newRoot())
}

func TestEveryVerbHasAnExample(t *testing.T) {
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.IsAvailableCommand() && !cmd.HasSubCommands() && cmd.Name() != "help" && cmd.Parent().Name() != "admin" {
			for line := range strings.SplitSeq(cmd.Example, "\n") {
				if !strings.HasPrefix(line, "  "+cmd.CommandPath()) {
					t.Errorf("%s: %q is no example", cmd.CommandPath(), line)
				}
			}
		}
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(newRoot())
}

func TestEverythingPrintsJSON(t *testing.T) {
	site(t)
	for _, args := range [][]string{
		{"connect", "k", "--id", "one", "--", "/bin/echo"},
		{"ls"},
		{"status", "k"},
		{"why", "k"},
		{"node", "ls"},
		{"version"},
		{"top", "--once"},
		{"completion", "bash"},
		{"node", "drain", "dr-scripted"},
		{"node", "undrain", "dr-scripted"},
		{"api-key", "create", "x", "--grant", "read"},
		{"api-key", "ls"},
		{"logs", "k"},
		{"logs", "k", "-f"},
		{"stop", "k"},
		{"status", "k", "--follow"},
		{"events"},
		{"admin", "status"},
		{"admin", "cluster-state", "localhost:9090"},
		{"admin", "backend-status", "one"},
	} {
		args = append(args[:1:1], append([]string{"--json"}, args[1:]...)...)
		if args[0] == "node" || args[0] == "api-key" || args[0] == "admin" { // flags stand after the last word
			args = append(append([]string{args[0]}, args[2:]...), "--json")
		}
		d := json.NewDecoder(strings.NewReader(must(t, args...)))
		n := 0
		for d.More() {
			var v map[string]any
			if err := d.Decode(&v); err != nil {
				t.Fatalf("plane %s: %v", strings.Join(args, " "), err)
			}
			n++
		}
		if n == 0 {
			t.Errorf("plane %s prints nothing", strings.Join(args, " "))
		}
	}
	_, _, errOut := play(t, "status", "nobody", "--json")
	var e struct {
		Error struct{ Kind, Message string }
	}
	if err := json.Unmarshal([]byte(errOut), &e); err != nil || e.Error.Kind != "NotFound" {
		t.Errorf("%s: %v", errOut, err)
	}
}

func TestFollowingGoesOnUntilTheEnd(t *testing.T) {
	s := site(t)
	must(t, "connect", "k", "--id", "one", "--", "/bin/echo")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var status, events printed
	done := make(chan int, 1)
	go func() { done <- execute(ctx, []string{"status", "k", "-f"}, &status, &status) }()
	ectx, stop := context.WithCancel(ctx)
	ended := make(chan int, 1)
	go func() { ended <- execute(ectx, []string{"events", "-f"}, &events, &events) }()
	until(t, &status, "ready")
	until(t, &events, "ready")
	must(t, "stop", "k", "--no-wait", "--hard")
	if code := <-done; code != 0 || !strings.Contains(status.String(), "hard-terminating: someone asked for it") || !strings.Contains(status.String(), "terminated") {
		t.Errorf("exit %d\n%s", code, status.String())
	}
	until(t, &events, "ended")
	stop()
	if code := <-ended; code != exitInterrupted {
		t.Errorf("exit %d\n%s", code, events.String())
	}
	_ = s
}

func until(t *testing.T, p *printed, word string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(p.String(), word); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in\n%s", word, p.String())
		}
	}
}

func TestTheOperatorsSocketNeedsNoKey(t *testing.T) {
	away(t)
	s := apitest.New(t, api.Options{})
	fails(t, 1, "An API key is needed", "ls", "--controller", s.URL)

	dir, err := os.MkdirTemp("", "plane")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", operatorSocket(dir))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.API.Operator(), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })

	var key client.APIKey
	if err := json.Unmarshal([]byte(must(t, "api-key", "create", "ci", "--grant", "connect:team-a/*", "--grant", "read", "--json", "--data-dir", dir)), &key); err != nil {
		t.Fatal(err)
	}
	like(t, must(t, "api-key", "ls", "--data-dir", dir), `ID +NAME  CREATED +GRANTS\n`+key.ID+`  ci +20\d\d[^\n]+  connect:team-a/\* read\n`)
	t.Setenv("PLANE_API_KEY", key.Secret)
	must(t, "ls", "--controller", s.URL)
	t.Setenv("PLANE_API_KEY", "")
	must(t, "ls", "--controller", strings.Replace(s.URL, "://", "://"+key.Secret+"@", 1))
	fails(t, 1, `lacks the grant "drain"`, "node", "drain", "dr-a", "--controller", strings.Replace(s.URL, "://", "://"+key.Secret+"@", 1))
	like(t, must(t, "api-key", "rm", key.ID, "--data-dir", dir), `API key .* deleted\n`)
}

func TestTheSocketOfThisDirectoryIsFoundByItself(t *testing.T) {
	away(t)
	s := apitest.New(t, api.Options{})
	state, err := os.MkdirTemp("", "plane")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	t.Setenv("XDG_STATE_HOME", state)
	wd := t.TempDir()
	t.Chdir(wd)
	socket := operatorSocket(devDataDir(wd))
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.API.Operator(), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	must(t, "ls")
}

func TestDirectoriesHaveDataDirsOfTheirOwn(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	a, b := devDataDir("/srv/me/my app"), devDataDir("/srv/you/my app")
	if a == b || !regexp.MustCompile(`^/state/plane/dev/myapp-[0-9a-f]{8}$`).MatchString(a) {
		t.Error(a, b)
	}
	if got := devDataDir("/" + strings.Repeat("x", 300)); len(filepath.Base(got)) > 25 {
		t.Error(got)
	}
}

func TestTerminalsAreSafeFromKeys(t *testing.T) {
	site(t)
	must(t, "connect", "evil\x1b[2J\nx", "--", "/bin/echo")
	for _, args := range [][]string{{"ls"}, {"why", "evil\x1b[2J\nx"}, {"status", "evil\x1b[2J\nx"}, {"events"}} {
		if out := must(t, args...); strings.Contains(out, "\x1b") {
			t.Errorf("plane %s prints control characters", args[0])
		}
	}
}

// TestShapesOfClientAndControllerAgree finds fields that one has and the other hasn't.
func TestShapesOfClientAndControllerAgree(t *testing.T) {
	for _, pair := range [][2]any{
		{controller.ConnectResponse{}, &client.ConnectResponse{}},
		{controller.StatusEntry{}, &client.StatusEntry{}},
		{controller.BackendView{Exit: &controller.ExitView{}}, &client.Backend{}},
		{controller.ClusterState{Drones: []controller.DroneView{{}}, Proxies: []controller.NodeView{{}}}, &client.ClusterState{}},
		{controller.Explanation{Now: &controller.NowView{}, History: []controller.PastView{{Exit: &controller.ExitView{}}}, Crash: &controller.CrashView{}, Events: []controller.EventView{{}}}, &client.Explanation{}},
		{controller.APIKeyView{}, &client.APIKey{}},
		{controller.Applied{Warnings: []string{"w"}}, &client.Applied{}},
		{controller.AppList{Apps: []controller.AppView{{Releases: []controller.ReleaseView{{}}}}}, &client.Apps{}},
		{controller.DataView{}, &client.Data{}},
	} {
		said, err := json.Marshal(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(said))
		d.DisallowUnknownFields()
		if err := d.Decode(pair[1]); err != nil {
			t.Errorf("%T: %v", pair[1], err)
			continue
		}
		if heard, _ := json.Marshal(pair[1]); string(heard) != string(said) {
			t.Errorf("%T:\nsaid  %s\nheard %s", pair[1], said, heard)
		}
	}
}

func ExampleexitText() {
	code, signal := 143, "SIGTERM"
	fmt.Println(exitText(&client.Exit{Code: &code, Signal: &signal, Reason: "external"}))
	fmt.Println(exitText(&client.Exit{Code: &code, OOM: true}))
	fmt.Println(exitText(&client.Exit{}))
	// Output:
	// by SIGTERM, because someone asked for it
	// by itself because it used more memory than its limit
	// by itself with an unknown exit code
}
