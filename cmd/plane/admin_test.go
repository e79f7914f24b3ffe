package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"plane/internal/api"
	"plane/internal/api/apitest"
)

const stamp = ` at 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{3})? UTC\n`

func TestAdminSpeaksAsScriptsKnowIt(t *testing.T) {
	s := site(t)
	t.Setenv("PLANE_CONTROLLER", "")
	admin := func(args ...string) []string { return append([]string{"admin", "--controller", s.URL}, args...) }
	must(t, "connect", "demo", "--controller", s.URL, "--id", "one", "--", "/bin/echo")

	like(t, must(t, admin("connect", "--image", "app:7", "--key", "demo")...),
		`Reusing backend: one\nURL: http://localhost:9090/[\w-]+/\nStatus URL: http://127.0.0.1:8080/pub/b/one/status\n`+
			`Status: scheduled`+stamp+`Status: loading`+stamp+`Status: starting`+stamp+`Status: waiting`+stamp+`Status: ready`+stamp)
	like(t, must(t, admin("connect", "--image", "app:7", "--key", "demo", "--immediate")...), `Reusing backend: one\nURL: [^\n]+\nStatus URL: [^\n]+\n`)
	like(t, must(t, admin("status")...), `Status: ok\nVersion: 1.2.3 \(client: `+version+`\)\nHash: abcd1234 \(client: `+buildHash()+`\)\n`)
	like(t, must(t, admin("cluster-state", "localhost:9090")...), `Drones:
  dr-scripted
    Plane version: 0.0.0
    Plane hash: test
    Controller: co-test
    Controller heartbeat age: \d+s
    Ready: true
    Draining: false
    Backend count: 1
    Last heartbeat age: \d+s
Proxies:
`)
	like(t, must(t, admin("drain", "--cluster", "localhost:9090", "--drone", "dr-scripted")...), "Drone dr-scripted draining initiated.\n")
	like(t, must(t, admin("drain", "--cluster", "localhost:9090", "--drone", "dr-scripted")...), "Drone dr-scripted was already draining.\n")
	like(t, must(t, admin("terminate", "one")...), `Sent termination signal one\nStatus: scheduled`+stamp+`.*Status: terminating`+stamp+`Status: terminated`+stamp)
	like(t, must(t, admin("terminate", "one", "--hard", "--immediate")...), "Sent termination signal one\n")
	like(t, must(t, admin("backend-status", "one")...), `Status: scheduled`+stamp+`.*Status: terminated`+stamp)
}

func TestAdminErrorsAreWordedAndExitWithOne(t *testing.T) {
	s := site(t)
	admin := func(url string, args ...string) []string {
		return append([]string{"admin", "--controller", url}, args...)
	}
	_, out, errOut := play(t, admin(s.URL, "terminate", "nobody")...)
	like(t, out+errOut, `API returned error status:\n    Message: Backend does not exist\n    HTTP status: 404 Not Found\n    Error ID for correlating with logs: [a-z0-9]{14}\n`)
	fails(t, 1, "Message: No drone has a runtime for an image", admin(s.URL, "connect", "--image", "app:7")...)
	fails(t, 1, "HTTP status: 404 Not Found", admin(s.URL, "backend-status", "nobody")...)
	fails(t, 1, "HTTP status: 404 Not Found", admin(s.URL, "drain", "--cluster", "c", "--drone", "dr-nobody")...)
	fails(t, 1, "URL error: ", admin("nonsense", "status")...)
	fails(t, 1, "HTTP error from API server: ", admin("http://127.0.0.1:1", "status")...)

	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/state") {
			_, _ = w.Write([]byte("<html>"))
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer odd.Close()
	fails(t, 1, "Unexpected status code from API server: 502 Bad Gateway", admin(odd.URL, "status")...)
	fails(t, 1, "JSON error: ", admin(odd.URL, "cluster-state", "c")...)
}

func TestAdminFailsWhenNoDroneIsThere(t *testing.T) {
	away(t)
	s := apitest.New(t, api.Options{Insecure: true})
	fails(t, 1, "    Message: No active drone available.\n    HTTP status: 500 Internal Server Error\n", "admin", "--controller", s.URL, "connect", "--image", "app:7")
}

func TestAdminTimesAndAges(t *testing.T) {
	for ms, want := range map[int64]string{
		1768298400123: "2026-01-13 10:00:00.123 UTC", 1768298400000: "2026-01-13 10:00:00 UTC", 1768298400100: "2026-01-13 10:00:00.100 UTC",
	} {
		if got := adminTime(time.UnixMilli(ms)); got != want {
			t.Errorf("%d: %s", ms, got)
		}
	}
	for s, want := range map[int64]string{0: "0s", 59: "59s", 60: "1m", 3599: "59m", 3600: "1h", 86399: "23h", 86400: "1d", 200000: "2d"} {
		if got := largestUnit(s); got != want {
			t.Errorf("%d: %s", s, got)
		}
	}
}
