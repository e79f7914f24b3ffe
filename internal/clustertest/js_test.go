package clustertest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// startApp runs js/example/server.js, the server of an app whose pages come to
// Plane through it, and gives its URL.
func startApp(t *testing.T, controller string) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no Node")
		}
		t.Skip("no Node")
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(node, filepath.Join(root, "js/example/server.js"))
	c.Env = append(os.Environ(), "PORT=0", "PLANE_CONTROLLER="+controller)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	url := regexp.MustCompile(`http://localhost:\d+`).FindString(line)
	if err != nil || url == "" {
		t.Fatalf("the app says %q: %v", line, err)
	}
	return url
}

// say is what a visitor of the app's page does.
func say(p *Page, text string) {
	p.Eval(fmt.Sprintf(`document.getElementById("say").value = %q; document.getElementById("send").click()`, text), nil)
}

func hears(p *Page, text string) {
	p.Await("an answer to "+text, fmt.Sprintf(`[...document.querySelectorAll("#said li")].some((li) => li.textContent === %q)`, text))
}

func TestAPageComesBackAfterItsBackendIsKilledAndSaysThatTheStateIsNew(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	app := startApp(t, d.API)
	b := StartBrowser(t)
	pages := []*Page{b.Open(app+"/one", 600, 500), b.Open(app+"/one", 600, 500)}
	other := b.Open(app+"/two", 600, 500)
	for i, p := range append(pages, other) {
		p.Await("an open socket", `document.getElementById("status").textContent === "open"`)
		say(p, "first "+strconv.Itoa(i))
		hears(p, "first "+strconv.Itoa(i))
	}
	var before int64
	pages[0].Eval(`session.generation`, &before)

	if err := syscall.Kill(d.state("one").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for i, p := range pages {
		p.Await("news of a new state", `document.getElementById("news").textContent.includes("started anew")`)
		p.Await("an open socket", `document.getElementById("status").textContent === "open"`)
		say(p, "again "+strconv.Itoa(i))
		hears(p, "again "+strconv.Itoa(i))
		var now int64
		p.Eval(`session.generation`, &now)
		if now <= before {
			t.Errorf("generation %d after %d", now, before)
		}
	}
	var news string
	other.Eval(`document.getElementById("news").textContent`, &news)
	if news != "" {
		t.Errorf("the page of the other key says %q", news)
	}
}

func TestAPageSurvivesARestartOfPlaneItself(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	app := startApp(t, d.API)
	p := StartBrowser(t).Open(app+"/kept", 600, 500)
	p.Await("an open socket", `document.getElementById("status").textContent === "open"`)
	was := d.state("kept")
	p.Eval(`Object.defineProperty(navigator, "onLine", { value: false })`, nil) // as where there is no network
	d.restartable()
	d.Kill()
	p.Await("a lost socket", `document.getElementById("status").textContent !== "open"`)
	say(p, "said while nothing was there")
	d.Restart()
	d.AwaitListening()
	listens := time.Now()
	hears(p, "said while nothing was there")
	if took := time.Since(listens); took > 10*time.Second {
		t.Errorf("the page came back %v after Plane did", took)
	}
	if now := d.state("kept"); now != was {
		t.Errorf("the backend was %+v, is %+v", was, now)
	}
	var news string
	p.Eval(`document.getElementById("news").textContent`, &news)
	if news != "" {
		t.Errorf("the page says %q, though the state is the old one", news)
	}
	fetched := time.Now()
	p.Eval(`session.fetch("state", { method: "POST" }).then((r) => r.text())`, nil)
	if time.Since(fetched) > 10*time.Second {
		t.Error("fetch took more than 10 s")
	}
}

func TestAPageOfAKeyURLNeedsNoEndpoint(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(root, "js/src/plane.js"))
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(d.Proxy)
	b := StartBrowser(t)
	for key, url := range map[string]string{
		"host-form": "http://host-form.localhost:" + port + "/",
		"path-form": "http://localhost:" + port + "/~/path-form/",
	} {
		p := b.Open(url, 400, 300)
		p.Await("the program's page", `location.href.startsWith("http") && document.readyState === "complete"`)
		d.state(key) // has started it, if the page hasn't
		p.Eval(fmt.Sprintf(`(async () => {
			const { here } = await import(URL.createObjectURL(new Blob([%q], { type: "text/javascript" })));
			globalThis.told = [];
			globalThis.session = await here();
			globalThis.socket = session.socket("ws", {
				onopen: (e) => told.push("open"),
				onGeneration: (now, before) => told.push("generation " + (now > before)),
				onmessage: (e) => told.push(e.data),
			});
		})()`, source), nil)
		p.Await("an open socket", `socket.readyState === 1 && socket.generation > 0`)
		p.Eval(`socket.send("one")`, nil)
		p.Await("an echo", `told.join() === "open,one"`)
		if err := syscall.Kill(d.state(key).PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.Await("the new state", `told.join() === "open,one,generation true,open"`)
		p.Eval(`socket.send("two")`, nil)
		p.Await("another echo", `told.at(-1) === "two"`)
	}
}
