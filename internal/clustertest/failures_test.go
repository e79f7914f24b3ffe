package clustertest

import (
	"bufio"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"plane/internal/image/imagetest"
)

const (
	lastLine = "<b>no module</b>" // that a program writes
	hint     = "answer HTTP on its port 8080"
)

// failing are the apps of which nothing can be run, by what is wrong.
func (y *yard) failing() (names []string, apps []map[string]any, says map[string][]string) {
	locked := imagetest.NewRegistry(y.t, "someone", "secret")
	private := locked.Push(y.t, "private:1", imagetest.ServerImage(y.t))
	good := y.server()
	other := map[string]string{"amd64": "arm64"}[runtime.GOARCH]
	if other == "" {
		other = "amd64"
	}
	foreign := y.registry.Push(y.t, "foreign:1", imagetest.OfArchitecture(y.t, imagetest.ServerImage(y.t), other))
	says = map[string][]string{}
	add := func(name string, app map[string]any, words ...string) {
		app["runtime"] = y.runtime
		names, apps, says[name] = append(names, name), append(apps, app), words
	}
	image := func(ref string) map[string]any { return map[string]any{"image": ref} }
	runs := func(argv ...string) map[string]any { return map[string]any{"image": good, "command": argv} }
	add("denied", image(private), private, "without credentials", "executable.credentials")
	wrong := image(private)
	wrong["credentials"] = map[string]string{"username": "someone", "password": "guessed"}
	add("wrong", wrong, private, "refuses the credentials", "executable.credentials")
	add("tag", image(y.registry.Host+"/server:none"), "/server:none", "its registry", "check name and tag")
	add("absent", image(y.registry.Host+"/nothing:1"), "/nothing:1", "its registry", "check name and tag")
	never := image(y.registry.Host + "/nothing:1")
	never["pull_policy"] = "Never"
	add("never", never, "/nothing:1", "pull_policy", "IfNotPresent")
	add("down", image("127.0.0.1:1/server:1"), "127.0.0.1:1/server:1", "connection refused", "can't be reached", "check the name")
	add("exits", runs("/server", "exit", "3", "one more thing", lastLine), "exit code 3", lastLine)
	mute := runs("/server", "silent")
	mute["start_timeout_seconds"] = 2
	add("mute", mute, "because it wasn't ready", hint)
	add("foreign", image(foreign), "/foreign:1", "linux/"+runtime.GOARCH, other)
	add("command", runs("/no/such/program"), `"/no/such/program"`, "correct the command or the image")
	return names, apps, says
}

func TestWhatKeepsAnImageFromRunningIsSaidEverywhere(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(y *yard) {
		t := y.t
		names, apps, says := y.failing()
		d := y.dev(planeYAML(names, apps...))
		b := StartBrowser(t)
		for _, name := range names {
			page := b.Open(d.KeyURL("doc--"+name), 900, 700)
			page.Await("how it ended", `document.getElementById("heading")?.textContent === "It ended before it was ready"`)
			var shown string
			page.Eval(`document.body.innerText`, &shown)
			Artefact(t, name+".png", page.Screenshot())
			page.Close()
			for where, said := range map[string]string{"the page": shown, "plane why": d.says("why", name+"/doc"), "the status stream": d.stream(name)} {
				for _, words := range says[name] {
					if !strings.Contains(said, words) && (where != "the status stream" || words != lastLine && words != hint) {
						t.Errorf("%s: %s doesn't say %q:\n%s", name, where, words, said)
					}
				}
				if strings.Contains(said, "guessed") || strings.Contains(said, "unknown exit code") {
					t.Errorf("%s: %s says:\n%s", name, where, said)
				}
			}
		}
	})
}

// stream is what the status stream of the last backend of an app says.
func (d *Dev) stream(app string) string {
	d.t.Helper()
	var found struct {
		Backends []struct {
			ID string `json:"backend_id"`
		}
	}
	if code := d.ctrl("/ctrl/backends?app="+app, &found); code != http.StatusOK || len(found.Backends) == 0 {
		d.t.Fatalf("backends of %s: %d, %v", app, code, found)
	}
	resp, err := apiClient.Get(d.API + "/pub/b/" + found.Backends[0].ID + "/status-stream")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	all := ""
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		all += lines.Text() + "\n"
		if strings.Contains(lines.Text(), `"terminated"`) {
			break
		}
	}
	return strings.ReplaceAll(all, `\"`, `"`)
}
