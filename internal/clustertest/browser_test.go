package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// browse opens url in a real browser in which the names in hosts lead to
// loopback, until done is closed or a minute is over.
func browse(t *testing.T, url string, hosts []string, done <-chan struct{}) {
	t.Helper()
	if _, err := os.Stat(Chromium); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no Chromium; `make test` installs it")
		}
		t.Skip("no Chromium; `make test` installs it")
	}
	var rules []string
	for _, h := range hosts {
		rules = append(rules, "MAP "+h+" 127.0.0.1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+t.TempDir(), "--host-resolver-rules="+strings.Join(rules, ","),
		"--remote-debugging-port=0", url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
	cancel()
	_ = cmd.Wait()
}

// attack is a page that tries, from its own origin, what a hostile page would
// try against Plane on the visitor's machine. It reports what it could read
// and which sockets opened; what it started, the test asks of Plane itself.
const attack = `<!doctype html><title>hostile</title><body><script>
const api = %q, keys = %q, out = {};
const read = async (name, url, init) => {
  try { const r = await fetch(url, init); out[name] = r.type + ":" + r.status + ":" + (await r.text()).slice(0, 40) }
  catch (e) { out[name] = "refused" }
};
const image = (name, url) => new Promise(done => {
  const i = new Image(); i.onload = i.onerror = done; i.src = url; setTimeout(done, 2000) });
const frame = url => new Promise(done => {
  const f = document.createElement("iframe"); f.onload = done; f.src = url; document.body.append(f); setTimeout(done, 2000) });
const socket = (name, url) => new Promise(done => {
  let w; try { w = new WebSocket(url) } catch (e) { out[name] = "refused"; return done() }
  w.onopen = () => { out[name] = "open"; done() };
  w.onerror = w.onclose = () => { out[name] ??= "refused"; done() } });
const form = url => new Promise(done => {
  const name = "f" + Math.random(), f = document.createElement("iframe"); f.name = name; document.body.append(f);
  const form = document.createElement("form"); form.method = "POST"; form.enctype = "text/plain"; form.action = url; form.target = name;
  const i = document.createElement("input"); i.name = '{"key":{"name":"form","x":"'; i.value = '"},"spawn_config":{"executable":{"command":["/bin/true"]}}}';
  form.append(i); document.body.append(form); f.onload = done; form.submit(); setTimeout(done, 2000) });
const body = JSON.stringify({key: {name: "fetched"}, spawn_config: {executable: {command: ["/bin/sleep", "60"]}}});
(async () => {
  await read("status", api + "/ctrl/status");
  await read("list", api + "/ctrl/backends");
  await read("connect-json", api + "/ctrl/connect", {method: "POST", headers: {"Content-Type": "application/json"}, body});
  await read("connect-text", api + "/ctrl/connect", {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body});
  await read("connect-beacon", api + "/ctrl/connect", {method: "POST", mode: "no-cors", body: new Blob([body])});
  await form(api + "/ctrl/connect");
  await read("key-fetch", keys.replace("KEY", "fetch"));
  await read("key-fetch-no-cors", keys.replace("KEY", "nocors"), {mode: "no-cors"});
  await image("key-image", keys.replace("KEY", "image") + "x.png");
  await frame(keys.replace("KEY", "frame"));
  await socket("key-socket", keys.replace("KEY", "socket").replace("http", "ws") + "ws");
  await socket("drone-socket", api.replace("http", "ws") + "/ctrl/c/localhost:9090/drone-socket");
  await fetch("/result", {method: "POST", body: JSON.stringify(out)});
})();
</script>`

func TestTrap46_48a_AHostilePageReachesNothing(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	_, proxyPort, err := net.SplitHostPort(d.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan map[string]string, 1)
	done := make(chan struct{})
	hostile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/result" {
			var m map[string]string
			if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
				t.Errorf("read result: %v", err)
			}
			result <- m
			close(done)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, attack, d.API, "http://KEY.localhost:"+proxyPort+"/")
	}))
	defer hostile.Close()
	_, hostilePort, _ := net.SplitHostPort(hostile.Listener.Addr().String())
	browse(t, "http://hostile.test:"+hostilePort+"/", []string{"hostile.test"}, done)
	select {
	case m := <-result:
		for name, got := range m {
			// An opaque answer shows the page neither status nor body.
			if got != "refused" && got != "opaque:0:" {
				t.Errorf("%s: the hostile page got %q", name, got)
			}
		}
		if len(m) < 9 {
			t.Errorf("the page tried only %d things: %v", len(m), m)
		}
	default:
		t.Fatal("the page reported nothing")
	}
	if n := d.Backends(); len(n) != 0 {
		t.Errorf("the hostile page started %d backends: %v", len(n), n)
	}
}

func TestTrap46_AReboundNameReachesNothing(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	rebound := func(target, host, path string) (int, string) {
		req, err := http.NewRequest(http.MethodGet, "http://"+target+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(target)
		req.Host = net.JoinHostPort(host, port)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	api := strings.TrimPrefix(d.API, "http://")
	for _, path := range []string{"/ctrl/status", "/ctrl/backends", "/pub/health"} {
		if code, body := rebound(api, "rebound.test", path); code != http.StatusForbidden {
			t.Errorf("%s under a rebound name: %d %s", path, code, body)
		}
	}
	for _, host := range []string{"rebound.test", "key.rebound.test"} {
		for _, path := range []string{"/", "/~/key/", "/x"} {
			if code, body := rebound(d.Proxy, host, path); code < 400 {
				t.Errorf("%s%s through the proxy: %d %s", host, path, code, body)
			}
		}
	}
	if n := d.Backends(); len(n) != 0 {
		t.Errorf("a rebound name started %d backends", len(n))
	}
}

func TestABrowserOpensAKeyURL(t *testing.T) {
	t.Parallel()
	d := StartDev(t, nil, Build(t).Echo)
	_, port, _ := net.SplitHostPort(d.Proxy)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := d.Await(50*time.Second, func(e Event) bool { return e.Event == "ready" && e.Key == "from-browser" })
		if err != nil {
			t.Error(err)
		}
	}()
	browse(t, "http://from-browser.localhost:"+port+"/", nil, done)
	<-done
}
