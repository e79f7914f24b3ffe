package clustertest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// adminGet asks an admin listener.
func adminGet(t TB, addr, path string) (int, string) {
	t.Helper()
	resp, err := apiClient.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// family is one metric as a scrape shows it.
type family struct {
	kind    string
	labels  []string
	samples map[string]float64 // by what stands before the value
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:]+)(\{.*\})? (\S+)$`)
	labelName  = regexp.MustCompile(`([a-z_]+)="`)
)

func families(t TB, text string) map[string]*family {
	t.Helper()
	all := map[string]*family{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			all[name] = &family{kind: kind, samples: map[string]float64{}}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		f := all[base(all, m[1])]
		if f == nil {
			t.Fatalf("%s has no type", line)
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(line, err)
		}
		f.samples[m[1]+m[2]] = v
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" && !slices.Contains(f.labels, l[1]) {
				f.labels = append(f.labels, l[1])
			}
		}
	}
	for _, f := range all {
		slices.Sort(f.labels)
	}
	return all
}

// base is the family that a series belongs to.
func base(all map[string]*family, series string) string {
	for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(series, suffix); ok && all[name] != nil {
			return name
		}
	}
	return ""
}

func TestMetricsOfARunningClusterAreTrueAndDescribed(t *testing.T) {
	addr := "127.0.0.1:" + FreePort(t)
	d := StartDev(t, []string{"--admin", addr}, Build(t).Echo)
	const key = "quite-secret-document"
	d.get(key, "/")
	d.get(key, "/state")
	c, err := connectBody(d.API, map[string]any{"key": map[string]string{"name": "another-secret"}, "spawn_config": map[string]any{}, "user": "secret-alice"})
	if err != nil {
		t.Fatal(err)
	}
	if c, err = connectBody(d.API, map[string]any{"key": map[string]string{"name": "another-secret"}, "wait": "ready"}); err != nil {
		t.Fatal(err)
	}
	terminate(d.API, c.BackendID)
	var text string
	await(t, 30*time.Second, "the end is counted", func() bool {
		_, text = adminGet(t, addr, "/metrics")
		return strings.Contains(text, `plane_ends_total{early="false",reason="external"} 1`)
	})
	all := families(t, text)

	t.Run("true", func(t *testing.T) {
		for series, want := range map[string]func(float64) bool{
			`plane_backends{status="ready"}`:                               func(v float64) bool { return v == 1 },
			`plane_drone_backends{status="ready"}`:                         func(v float64) bool { return v == 1 },
			`plane_starts_begun_total`:                                     func(v float64) bool { return v == 2 },
			`plane_starts_total{result="ready"}`:                           func(v float64) bool { return v == 2 },
			`plane_start_seconds_count`:                                    func(v float64) bool { return v == 2 },
			`plane_start_phase_seconds_count{phase="waiting"}`:             func(v float64) bool { return v == 2 },
			`plane_start_seconds_sum`:                                      func(v float64) bool { return v > 0 && v < 60 },
			`plane_connects_total{result="started"}`:                       func(v float64) bool { return v == 1 },
			`plane_connects_total{result="live"}`:                          func(v float64) bool { return v == 1 },
			`plane_connect_seconds_count{result="live",wait="ready"}`:      func(v float64) bool { return v == 1 },
			`plane_key_asks_total{result="ok"}`:                            func(v float64) bool { return v >= 1 },
			`plane_proxy_requests_total{class="2xx",kind="key"}`:           func(v float64) bool { return v >= 2 },
			`plane_proxy_body_bytes_total{direction="response"}`:           func(v float64) bool { return v > 10 },
			`plane_proxy_wait_seconds_count{kind="key"}`:                   func(v float64) bool { return v >= 1 },
			`plane_proxy_connected`:                                        func(v float64) bool { return v == 1 },
			`plane_controller_drones{state="ready"}`:                       func(v float64) bool { return v == 1 },
			`plane_controller_proxies`:                                     func(v float64) bool { return v == 1 },
			`plane_drone_ready`:                                            func(v float64) bool { return v == 1 },
			`plane_drone_lease_seconds_left`:                               func(v float64) bool { return v > 1 && v < 60 },
			`plane_drone_renewals_total{outcome="ok"}`:                     func(v float64) bool { return v >= 1 },
			`plane_renewals_total{outcome="ok"}`:                           func(v float64) bool { return v >= 1 },
			`plane_drone_ports_free`:                                       func(v float64) bool { return v > 1000 },
			`plane_drone_watcher_start_time_seconds{watcher="warden"}`:     func(v float64) bool { return v > 1e9 },
			`plane_store_seconds_count{operation="update"}`:                func(v float64) bool { return v > 3 },
			`plane_store_failures_total{operation="update"}`:               func(v float64) bool { return v == 0 },
			`plane_store_size_bytes{file="database"}`:                      func(v float64) bool { return v > 4096 },
			`plane_events_total{kind="ready"}`:                             func(v float64) bool { return v == 2 },
			`process_open_fds`:                                             func(v float64) bool { return v > 5 },
			`plane_proxy_refusals_total{cause="unreadable"}`:               func(v float64) bool { return v == 0 },
			`plane_lapses_total{policy="balanced"}`:                        func(v float64) bool { return v == 0 },
			`plane_ends_total{early="true",reason="failed"}`:               func(v float64) bool { return v == 0 },
			`plane_proxy_open_requests{state="upgraded"}`:                  func(v float64) bool { return v == 0 },
			`plane_drone_backends{status="waiting"}`:                       func(v float64) bool { return v == 0 },
			`plane_start_phase_seconds_bucket{phase="starting",le="+Inf"}`: func(v float64) bool { return v == 2 },
		} {
			f := all[base(all, series[:max(0, strings.IndexByte(series+"{", '{'))])]
			if f == nil {
				t.Errorf("%s isn't there", series)
				continue
			}
			if v, ok := f.samples[series]; !ok || !want(v) {
				t.Errorf("%s is %v (there: %v)", series, v, ok)
			}
		}
	})
	t.Run("nameless", func(t *testing.T) {
		for _, secret := range []string{key, "another-secret", "secret-alice", c.BackendID, "dr-", "px-", "co-", "localhost", "127.0.0.1"} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("a metric tells %q: %s", secret, text[max(0, i-80):min(len(text), i+80)])
			}
		}
	})
	t.Run("well named", func(t *testing.T) {
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		if err != nil || len(problems) > 0 {
			t.Error(err, problems)
		}
	})
	t.Run("described", func(t *testing.T) { described(t, all) })
	t.Run("dashboard", func(t *testing.T) { dashboard(t, all) })
}

// described compares what is exported with the tables of docs/metrics.md.
func described(t *testing.T, all map[string]*family) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		name, ok := strings.CutPrefix(line, "| `plane_")
		if !ok {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name, _, _ = strings.Cut("plane_"+name, "`")
		f := all[name]
		switch {
		case len(cells) != 6:
			t.Errorf("docs/metrics.md: the row of %s has %d cells", name, len(cells))
			continue
		case told[name]:
			t.Errorf("docs/metrics.md describes %s twice", name)
		case f == nil:
			t.Errorf("docs/metrics.md describes %s, which isn't exported", name)
			continue
		}
		told[name] = true
		if kind := strings.TrimSpace(cells[1]); kind != f.kind {
			t.Errorf("docs/metrics.md: %s is a %s, not a %s", name, f.kind, kind)
		}
		var labels []string
		for l := range strings.SplitSeq(cells[3], ",") {
			if l = strings.Trim(l, " `"); l != "" {
				labels = append(labels, l)
			}
		}
		slices.Sort(labels)
		if !slices.Equal(labels, f.labels) {
			t.Errorf("docs/metrics.md: %s has the labels %v, not %v", name, f.labels, labels)
		}
		for _, cell := range cells[4:] {
			if len(strings.TrimSpace(cell)) < 8 {
				t.Errorf("docs/metrics.md says too little of %s", name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(name, "plane_") && !told[name] {
			t.Errorf("docs/metrics.md doesn't describe %s", name)
		}
	}
}

var (
	exprName  = regexp.MustCompile(`\b(plane|process|go)_[a-z_]+`)
	exprBy    = regexp.MustCompile(`by \(([^)]*)\)`)
	exprOther = regexp.MustCompile(`\{[^}]*\}|"[^"]*"`)
)

// dashboard sees that every expression of the dashboard can show something.
func dashboard(t *testing.T, all map[string]*family) {
	b, err := os.ReadFile("../../dashboards/plane.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	ids, shown := map[int]bool{}, 0
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			shown++
			checkExpr(t, p.Title, target.Expr, target.LegendFormat, all)
		}
	}
	if shown < 20 {
		t.Errorf("the dashboard has %d expressions", shown)
	}
}

func checkExpr(t *testing.T, title, expr, legend string, all map[string]*family) {
	t.Helper()
	if strings.Count(expr, "(") != strings.Count(expr, ")") || expr == "" {
		t.Errorf("%s: brackets of %q", title, expr)
	}
	names := exprName.FindAllString(exprOther.ReplaceAllString(expr, ""), -1)
	if len(names) == 0 {
		t.Errorf("%s: %q reads no series", title, expr)
	}
	known := []string{"le", "job", "instance"}
	for _, series := range names {
		name := base(all, series)
		f := all[name]
		if f == nil {
			t.Errorf("%s: %q reads %s, which isn't exported", title, expr, series)
			continue
		}
		if (series != name) != (f.kind == "histogram") {
			t.Errorf("%s: %q reads %s of a %s", title, expr, series, f.kind)
		}
		if f.kind == "counter" && !strings.Contains(expr, "rate(") && !strings.Contains(expr, "increase(") {
			t.Errorf("%s: %q shows a counter as it is", title, expr)
		}
		known = append(known, f.labels...)
	}
	grouped := []string{"job", "instance"}
	for _, by := range exprBy.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(by[1], ",") {
			if l = strings.TrimSpace(l); !slices.Contains(known, l) {
				t.Errorf("%s: %q groups by %s, which none of its series has", title, expr, l)
			}
			grouped = append(grouped, strings.TrimSpace(l))
		}
	}
	for _, l := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(legend, -1) {
		if !slices.Contains(grouped, l[1]) {
			t.Errorf("%s: the legend %q names %s, which %q drops", title, legend, l[1], expr)
		}
	}
}

func TestAPartSaysWhyItIsNotReady(t *testing.T) {
	proxyAdmin, droneAdmin, controllerAdmin := "127.0.0.1:"+FreePort(t), "127.0.0.1:"+FreePort(t), "127.0.0.1:"+FreePort(t)
	a := StartApart(t, WithAdmin{Controller: controllerAdmin, Drone: droneAdmin, Proxy: proxyAdmin})
	ready := func(addr string) bool {
		code, body := adminGet(t, addr, "/readyz")
		return code == http.StatusOK && strings.Contains(body, ": ok\n")
	}
	for _, addr := range []string{proxyAdmin, droneAdmin, controllerAdmin} {
		await(t, 30*time.Second, "all parts are ready", func() bool { return ready(addr) })
	}
	if code, body := adminGet(t, controllerAdmin, "/readyz"); code != http.StatusOK || !strings.Contains(body, "store: ok") {
		t.Errorf("the controller: %d %s", code, body)
	}
	a.Controller.Kill()
	await(t, 30*time.Second, "the proxy says that no controller is there", func() bool {
		code, body := adminGet(t, proxyAdmin, "/readyz")
		return code == http.StatusServiceUnavailable && strings.HasPrefix(body, "proxy: not connected to a controller")
	})
	for _, addr := range []string{proxyAdmin, droneAdmin} {
		if code, body := adminGet(t, addr, "/livez"); code != http.StatusOK {
			t.Errorf("a part whose controller is away is alive: %d %s", code, body)
		}
	}
	_, text := adminGet(t, proxyAdmin, "/metrics")
	if !strings.Contains(text, "plane_proxy_connected 0\n") {
		t.Error("the proxy's metrics say that it is connected")
	}
	a.Controller.Restart()
	await(t, 60*time.Second, "the proxy is ready again", func() bool { return ready(proxyAdmin) })
}

// TestARequestIsFollowedThroughAllParts by the id that its caller gave it.
func TestARequestIsFollowedThroughAllParts(t *testing.T) {
	a := StartApart(t)
	const id = "follow-me.17"
	req, err := http.NewRequest(http.MethodPost, a.API+"/ctrl/connect", strings.NewReader(
		`{"key":{"namespace":"team","name":"doc"},"wait":"ready","spawn_config":{"executable":{"command":["`+Build(t).Echo+`"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Id", id)
	resp, err := apiClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var c Connected
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err, c.Message)
	}
	for part, p := range map[string]*Part{"controller": a.Controller, "drone": a.Drone} {
		await(t, 30*time.Second, part+" names the request", func() bool { return len(linesOf(t, p, id)) > 0 })
		for _, line := range linesOf(t, p, id) {
			if line["part"] != part || line["key"] != "team/doc" || line["backend"] != c.BackendID || line["generation"] != float64(c.Generation) {
				t.Errorf("a line of the %s: %v", part, line)
			}
		}
	}
	terminate(a.API, c.BackendID)
	await(t, 30*time.Second, "the controller tells the end of what the request started", func() bool {
		return slices.ContainsFunc(linesOf(t, a.Controller, id), func(line map[string]any) bool {
			return line["msg"] == "a backend has ended" && line["reason"] == "external" && line["drone"] != ""
		})
	})
}

// linesOf are the lines of a part's log that name a request. Every line must be JSON.
func linesOf(t *testing.T, p *Part, request string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(p.Stderr()) {
		if !strings.HasSuffix(line, "\n") {
			break // not all of it has come
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("a line of the log isn't JSON: %s", line)
		}
		for _, name := range []string{"time", "level", "msg", "part"} {
			if fields[name] == nil {
				t.Errorf("a line of the log has no %s: %s", name, line)
			}
		}
		if strings.Count(line, `"part":`) != 1 {
			t.Errorf("a line of the log names its part twice: %s", line)
		}
		if fields["request"] == request {
			found = append(found, fields)
		}
	}
	return found
}

// The log of plane dev is a file; its level changes while it runs.
func TestTheLogOfARunningDevCanBeMadeLouder(t *testing.T) {
	addr := "127.0.0.1:" + FreePort(t)
	d := StartDev(t, []string{"--admin", addr}, Build(t).Echo)
	req, err := http.NewRequest(http.MethodPut, "http://"+addr+"/log-level", strings.NewReader("debug"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := apiClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	d.get("doc", "/")
	// A token that nobody made is refused without a word, but for developers.
	if _, _, err := do(http.MethodGet, d.Proxy, "", "/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/"); err != nil {
		t.Log(err)
	}
	await(t, 30*time.Second, "a line of level debug", func() bool {
		b, err := os.ReadFile(filepath.Join(d.DataDir, "dev.log"))
		return err == nil && strings.Contains(string(b), `"level":"DEBUG"`) && strings.Contains(string(b), "log level changed")
	})
}
