package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"plane"
	"plane/internal/api"
	"plane/internal/api/apitest"
	"plane/internal/controller"
)

const twoApps = `default: board
apps:
  board:
    command: [echo, "{port}"]
    data: keep
  draw:
    command: [echo]
    env: { SECRET: hunter2 }
    ports: { metrics: 9100 }
`

// written puts a plane.yaml into a working directory of the test's own.
func written(t *testing.T, text string) {
	t.Helper()
	if _, err := os.Stat("main.go"); err == nil { // still in this package
		t.Chdir(t.TempDir())
	}
	if err := os.WriteFile("plane.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAppsFromFileToRollback(t *testing.T) {
	site(t)
	code, out, errOut := play(t, "apps")
	if code != 0 || out != "" || !strings.Contains(errOut, "plane init") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	written(t, twoApps)
	code, out, errOut = play(t, "apply")
	if code != 0 || out != "board: release 1 is new\ndraw: release 1 is new\n" || !strings.Contains(errOut, "plane: warning: draw: ports.metrics") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	like(t, must(t, "apply", "board"), `board: unchanged, release 1\n`)
	written(t, strings.Replace(twoApps, "data: keep", "max_idle_seconds: 5", 1))
	like(t, must(t, "apply", "board"), `board: release 2 is new\n`)
	like(t, must(t, "apps"), `APP    RELEASE  SINCE +LIVE  WHAT IT RUNS\nboard  2 +[\d.]+s +0     echo {port}\ndraw   1 +[\d.]+s +0     echo\n`)
	like(t, must(t, "apps", "board"), `app +board\nrelease +2, for [\d.]+s\nlive +0 backends\nruns +echo {port}\nsettings +dir [^\n]+, max_idle_seconds 5\n\n`+
		`RELEASE +MADE +BY +WHAT CHANGED\n2 \(in use\) +20\d\d[^\n]+ loopback +data, max_idle_seconds\n1 +20\d\d[^\n]+ loopback +the first\n`)
	if out := must(t, "apps", "draw"); strings.Contains(out, "hunter2") || !strings.Contains(out, "env (SECRET)") {
		t.Error(out)
	}
	like(t, must(t, "rollback", "board"), `board: release 1 instead of 2\n`)
	like(t, must(t, "rollback", "board", "1"), `board: release 1 already\n`)
	fails(t, 1, "App board has no release before 1.", "rollback", "board")
	fails(t, 1, "no release 7", "rollback", "board", "7")
	fails(t, 1, `There is no app "bord"; did you mean "board"?`, "rollback", "bord")
	fails(t, 1, `There is no app "bord"; did you mean "board"?`, "apps", "bord")
	fails(t, 2, `"x" is no release`, "rollback", "board", "x")
	fails(t, 2, `write "plane rollback APP [RELEASE]"`, "rollback")

	must(t, "connect", "board/doc", "--id", "one")
	like(t, must(t, "rollback", "board", "2"), `board: release 2 instead of 1; 1 live backend keeps the release of its start\n`)
	like(t, must(t, "status", "board/doc"), `.*app +board, release 1\n.*`)
	for _, args := range [][]string{{"apps"}, {"apps", "board"}, {"rollback", "board", "1"}, {"apply", "board"}, {"data", "ls"}} {
		if out := must(t, append(args, "--json")...); !strings.HasPrefix(out, "{") {
			t.Errorf("%v: %s", args, out)
		}
	}
}

func TestConnectFindsTheAppOfAKey(t *testing.T) {
	site(t)
	written(t, twoApps)
	_, _, _ = play(t, "apply")
	like(t, must(t, "connect", "board/doc", "--id", "one"), `.*key +board/doc\nkey URL +http://doc--board\.localhost:9090/_plane/enter/[^\n]+\nbackend +one \(started[^\n]+\n.*`)
	like(t, must(t, "connect", "doc", "--app", "board"), `.*backend +one \(found\)\n.*`)
	like(t, must(t, "connect", "--app", "draw"), `.*key +draw/lk-[a-z0-9]+\n.*`)
	fails(t, 1, `there is no app "bord"; did you mean "board"?`, "connect", "bord/doc")
	fails(t, 1, `there is no app "team"; there are board, draw.`, "connect", "team/doc")
	fails(t, 1, "nothing says what to start", "connect", "doc")
	fails(t, 1, `There is no port "metrics"`, "connect", "doc", "--app", "board", "--port", "metrics")
	fails(t, 1, `There is no app "bord"`, "connect", "doc", "--app", "bord")
	fails(t, 2, "--app", "connect", "doc", "--app", "board", "--", "/bin/echo")
	fails(t, 2, "--namespace", "connect", "doc", "--app", "board", "--namespace", "draw")
	like(t, must(t, "ls", "board/d"), `KEY [^\n]+\nboard/doc [^\n]+\n`)
}

// TestKeysWithoutAnAppAreOfTheDefaultOne plays with a controller as plane dev has it.
func TestKeysWithoutAnAppAreOfTheDefaultOne(t *testing.T) {
	away(t)
	board := "board"
	s := apitest.NewWith(t, api.Options{Insecure: true, Unnamed: true}, func(c *controller.Config) { c.DefaultApp = &board })
	s.StartDrone(t, nil)
	t.Setenv("PLANE_CONTROLLER", s.URL)
	written(t, twoApps)
	_, _, _ = play(t, "apply")
	like(t, must(t, "apps"), `[^\n]+\nboard \(default\) .*`)
	like(t, must(t, "connect", "doc", "--id", "one"), `.*key +board/doc\n.*`)
	like(t, must(t, "connect"), `.*key +board/lk-[a-z0-9]+\n.*`)
	for _, args := range [][]string{{"status", "doc"}, {"why", "doc"}, {"logs", "doc"}, {"status", "board/doc"}, {"status", "doc", "--namespace", "board"}} {
		must(t, args...)
	}
	fails(t, 1, `There is no backend of key "doc"`, "status", "doc", "--namespace", "")
	if _, out, _ := play(t, "__complete", "stop", "d"); out != "doc\tready\n:4\n" {
		t.Error(out)
	}
	like(t, must(t, "stop", "doc"), `board/doc \(one\) has ended .*`)
	must(t, "connect", "foreign", "--", "/bin/echo")
	must(t, "stop", "foreign")
}

func TestDataIsListedAndGivenUp(t *testing.T) {
	site(t)
	written(t, twoApps)
	_, _, _ = play(t, "apply")
	must(t, "connect", "board/doc", "--id", "one")
	like(t, must(t, "data", "ls"), `KEY        SIZE  IN USE  LAST USED  DRONE        VOLUME\nboard/doc  -     yes     [\d.]+s ago   dr-scripted  [^\n]+\n`)
	like(t, must(t, "data", "ls", "draw"), `Nothing is kept\.\n`)
	fails(t, 1, "stop it first", "data", "abandon", "board/doc", "--yes")
	must(t, "stop", "board/doc")
	fails(t, 2, "give --yes", "data", "abandon", "board/doc")
	fails(t, 1, `Nothing is kept for key "board/other".`, "data", "abandon", "board/other", "--yes")
	p := terminal(t)
	ended := p.run(t.Context(), "data", "abandon", "board/doc")
	until(t, &p.shown, "[y/N] ")
	if !strings.Contains(p.shown.String(), "Give up what is kept for board/doc (size not known now, last used") {
		t.Error(p.shown.String())
	}
	if _, err := p.keys.WriteString("no\n"); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, ended); err == nil || err.Error() != "Nothing was done." {
		t.Error(err)
	}
	like(t, must(t, "data", "abandon", "board/doc", "--yes"), `board/doc: given up; the next backend begins with nothing\n`)
	like(t, must(t, "data", "ls"), `Nothing is kept\.\n`)
	fails(t, 2, `did you mean "abandon"?`, "data", "abandom")
}

func TestWhyTellsAStory(t *testing.T) {
	site(t)
	written(t, twoApps)
	_, _, _ = play(t, "apply")
	must(t, "connect", "board/doc", "--id", "one")
	must(t, "stop", "board/doc")
	must(t, "connect", "board/doc", "--id", "two")
	like(t, must(t, "why", "board/doc"), `board/doc is ready since [\d:]+ \([\d.]+s ago\)\. [A-Z][^\n]+\n\n`+
		`backend +two, generation #\d+\napp +board, release 1\ndrone +dr-scripted\n.*\nWhy there: [^\n]+\n\n`+
		`The last one \(generation #\d+\) ended at [^\n]+: by SIGTERM, because someone asked for it \(loopback\)\.\nIts last output:\n  bye\n\n`+
		`GENERATION  BACKEND[^\n]+\n#\d+ +two [^\n]+\n#\d+ +one [^\n]+\n\nTIME +EVENT +BY +WHAT\n.*`)
	like(t, must(t, "why", "--id", "two"), `board/doc is ready.*`)
	fails(t, 1, `Nothing is known of key "board/nobody".`, "why", "board/nobody")
	fails(t, 2, "--namespace belongs to KEY", "why", "--id", "two", "--namespace", "x")
}

func TestGenerationsAreShort(t *testing.T) {
	for g, want := range map[plane.Generation]string{plane.NewGeneration(1, 12): "#12", plane.NewGeneration(3, 7): "#7 of epoch 3"} {
		if got := generationText(g); got != want {
			t.Errorf("%d: %s, want %s", g, got, want)
		}
	}
}

func TestShellsCompleteWhatThereIs(t *testing.T) {
	site(t)
	written(t, twoApps)
	_, _, _ = play(t, "apply")
	must(t, "connect", "board/doc-1")
	must(t, "connect", "plain", "--", "/bin/echo")
	for line, want := range map[string]string{
		"stop ":             `board/doc-1\tready\nplain\tready\n:4\n.*`,
		"stop board/":       `board/doc-1\tready\n:4\n.*`,
		"why p":             `plain\tready\n:4\n.*`,
		"apps ":             `board\techo {port}\ndraw\techo\n:4\n.*`,
		"rollback d":        `draw\techo\n:4\n.*`,
		"apply ":            `board\ndraw\n:4\n.*`,
		"ls --app b":        `board\techo {port}\n:4\n.*`,
		"ls --status re":    `.*ready\n.*`,
		"node drain ":       `dr-scripted\tdrone, ready\n:4\n.*`,
		"data abandon ":     `board/doc-1\n:4\n.*`,
		"completion ":       `bash\nzsh\nfish\n.*`,
		"connect --lease s": `.*sticky\n.*`,
		"top --sort ":       `cpu\nmemory\nkey\n:4\n.*`,
	} {
		code, out, _ := play(t, append([]string{"__complete"}, strings.Split(line, " ")...)...)
		if code != 0 || !regexp.MustCompile(`(?s)^`+want+`$`).MatchString(out) {
			t.Errorf("%s: exit %d\n%s", line, code, out)
		}
	}
	for shell, word := range map[string]string{"bash": "__start_plane", "zsh": "#compdef plane", "fish": "complete -c plane"} {
		if out := must(t, "completion", shell); !strings.Contains(out, word) {
			t.Errorf("%s: %.200s", shell, out)
		}
	}
	fails(t, 2, "name bash, zsh or fish", "completion", "tcsh")
	fails(t, 2, "name one shell", "completion")
	if out := must(t, "help"); !strings.Contains(out, "completion") {
		t.Error("completion is hidden")
	}
	here := os.Getenv("PLANE_CONTROLLER")
	t.Setenv("PLANE_CONTROLLER", "http://127.0.0.1:1")
	if code, out, _ := play(t, "__complete", "ls", "--controller", here, "--drone", "d"); code != 0 || !strings.HasPrefix(out, "dr-scripted") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out, _ := play(t, "__complete", "stop", ""); code != 0 || out != ":4\n" {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestTheOperatorsFileIsTheOneThatIsNamed(t *testing.T) {
	site(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("deploy", 0o700); err != nil {
		t.Fatal(err)
	}
	text := "apps:\n  board:\n    command: [./board]\n    dir: ..\n"
	if err := os.WriteFile("deploy/plane.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	like(t, must(t, "apply", "-f", "deploy/plane.yaml"), `board: release 1 is new\n`)
	like(t, must(t, "apps", "board"), `.*runs +`+regexp.QuoteMeta(filepath.Join(dir, "board"))+`\n.*`)
	fails(t, 1, "deploy is a directory", "apply", "-f", "deploy")
}
