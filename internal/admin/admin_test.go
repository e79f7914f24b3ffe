package admin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"plane/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask sends one request to a's handler, as a program of this machine would.
func ask(a *admin.Admin, method, path, body string, header ...string) (int, string) {
	r := httptest.NewRequest(method, "http://127.0.0.1:1/", strings.NewReader(body))
	r.URL.Path = path
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, r)
	b, _ := io.ReadAll(w.Result().Body)
	return w.Code, string(b)
}

func TestTheListNamesEveryPage(t *testing.T) {
	a := admin.New(admin.Options{})
	status, body := ask(a, "GET", "/", "")
	if status != http.StatusOK {
		t.Fatal(status, body)
	}
	for line := range strings.Lines(body) {
		path, _, _ := strings.Cut(line, " ")
		if status, body := ask(a, "GET", path, ""); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := ask(a, "GET", "/elsewhere", ""); status != http.StatusNotFound {
		t.Error("a path that nobody serves:", status)
	}
}

func TestMetricsAreOfThisProcessAndWellNamed(t *testing.T) {
	a := admin.New(admin.Options{Version: "1.2.3", Hash: "abcd1234"})
	a.Registry().MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "plane_things_total", Help: "Things."}))
	status, body := ask(a, "GET", "/metrics", "")
	for _, want := range []string{
		`plane_build_info{commit="abcd1234",go_version="go`, `version="1.2.3"} 1`,
		"plane_things_total 0", "process_open_fds", "process_max_fds", "go_goroutines",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%d: %s is missing in\n%s", status, want, body)
		}
	}
	problems, err := testutil.GatherAndLint(a.Registry().(prometheus.Gatherer))
	if err != nil || len(problems) > 0 {
		t.Error(err, problems)
	}
}

func TestTrap46_PagesOfOthersAreRefused(t *testing.T) {
	a := admin.New(admin.Options{})
	for name, c := range map[string]struct {
		header []string
		want   int
	}{
		"a program":                 {nil, 200},
		"localhost":                 {[]string{"Host", "localhost:9"}, 200},
		"LOCALHOST.":                {[]string{"Host", "LOCALHOST.:9"}, 200},
		"IPv6":                      {[]string{"Host", "[::1]:9"}, 200},
		"IPv6 without port":         {[]string{"Host", "[::1]"}, 200},
		"typed into a browser":      {[]string{"Sec-Fetch-Site", "none"}, 200},
		"a link of the list":        {[]string{"Sec-Fetch-Site", "same-origin"}, 200},
		"a rebound name":            {[]string{"Host", "rebound.example:9"}, 403},
		"a name below localhost":    {[]string{"Host", "doc.localhost:9"}, 403},
		"an address elsewhere":      {[]string{"Host", "10.0.0.1:9"}, 403},
		"no host":                   {[]string{"Host", ""}, 403},
		"a page's script":           {[]string{"Origin", "http://evil.example"}, 403},
		"a page without an origin":  {[]string{"Origin", "null"}, 403},
		"a page's image":            {[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		"a page of a key's backend": {[]string{"Sec-Fetch-Site", "same-site"}, 403},
	} {
		for _, path := range []string{"/", "/metrics", "/livez", "/debug/pprof/cmdline", "/log-level"} {
			if got, body := ask(a, "GET", path, "", c.header...); got != c.want {
				t.Errorf("%s at %s: %d, want %d: %s", name, path, got, c.want, body)
			}
		}
	}
}

func TestTheLogLevelChangesWhileItRuns(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: level}))
	a := admin.New(admin.Options{Level: level, Log: log})
	if status, body := ask(a, "GET", "/log-level", ""); status != 200 || body != "info\n" {
		t.Fatal(status, body)
	}
	log.Debug("unseen")
	if status, body := ask(a, "PUT", "/log-level", "debug\n"); status != 200 || body != "debug\n" {
		t.Fatal(status, body)
	}
	log.Debug("seen")
	if s := out.String(); strings.Contains(s, "unseen") || !strings.Contains(s, `"seen"`) || !strings.Contains(s, "log level changed") {
		t.Error(s)
	}
	for body, want := range map[string]int{"loud": 422, "": 422, strings.Repeat("x", 100): 400} {
		status, said := ask(a, "PUT", "/log-level", body)
		if status != want || !strings.Contains(said, "debug, info, warn or error") || !strings.HasSuffix(said, ".\n") {
			t.Errorf("%q: %d %s", body, status, said)
		}
	}
	if level.Level() != slog.LevelDebug {
		t.Error("a wrong word changed the level to", level.Level())
	}
}

func TestReadinessTellsTheReasonOfEachCheck(t *testing.T) {
	a := admin.New(admin.Options{})
	if status, body := ask(a, "GET", "/readyz", ""); status != 200 || body != "ok\n" {
		t.Fatal("without checks:", status, body)
	}
	var away atomic.Bool
	a.Ready("store", time.Minute, func(context.Context) error { return nil })
	a.Ready("controller", time.Minute, func(context.Context) error {
		if away.Load() {
			return errors.New("not connected\nsince noon")
		}
		return nil
	})
	if status, body := ask(a, "GET", "/readyz", ""); status != 200 || body != "store: ok\ncontroller: ok\n" {
		t.Error(status, body)
	}
	away.Store(true)
	if status, body := ask(a, "GET", "/readyz", ""); status != 503 || body != "store: ok\ncontroller: not connected since noon\n" {
		t.Error(status, body)
	}
	if status, body := ask(a, "GET", "/livez", ""); status != 200 {
		t.Error("what isn't ready may be alive:", status, body)
	}
}

func TestACheckThatHangsIsToldAndHoldsOneGoroutine(t *testing.T) {
	a := admin.New(admin.Options{})
	let := make(chan struct{})
	var asked atomic.Int32
	a.Live("loop", 10*time.Millisecond, func(context.Context) error {
		asked.Add(1)
		<-let
		return nil
	})
	a.Live("other", time.Minute, func(context.Context) error { return nil })
	for range 3 {
		if status, body := ask(a, "GET", "/livez", ""); status != 503 || !strings.Contains(body, "loop: no answer for ") || !strings.Contains(body, "other: ok") {
			t.Fatal(status, body)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times while the first hung", n)
	}
	close(let)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if status, _ := ask(a, "GET", "/livez", ""); status == 200 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("still red after the check came back")
		}
	}
}

func TestWithoutAListenerNothingIsKept(t *testing.T) {
	var a *admin.Admin
	if a.Registry() != nil {
		t.Error("constructors of metrics couldn't tell that nothing is counted")
	}
	a.Live("x", time.Second, nil)
	a.Ready("x", time.Second, nil)
}
