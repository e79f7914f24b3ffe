package api_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"plane/internal/api"
	"plane/internal/api/apitest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// exchange is a transcript of requests and answers with what differs from
// run to run replaced.
type exchange struct {
	t    *testing.T
	site *apitest.Site
	log  strings.Builder
}

var changing = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`"id":"[a-z0-9]{14}"`), `"id":"ERROR_ID"`},
	{regexp.MustCompile(`"(time|since|created_at|ended_at|updated_at|attached_at)":\d{13}`), `"$1":MILLIS`},
	{regexp.MustCompile(`"secret_token":"[A-Za-z0-9_-]{43}"`), `"secret_token":"SECRET"`},
	{regexp.MustCompile(`s\.[A-Za-z0-9_-]{43}`), `STATIC`},
	{regexp.MustCompile(`"token":"[A-Za-z0-9_-]{60,}"`), `"token":"TOKEN"`},
	{regexp.MustCompile(`/[A-Za-z0-9_-]{60,}/`), `/TOKEN/`},
	{regexp.MustCompile(`"generation":\d+`), `"generation":GENERATION`},
	{regexp.MustCompile(`"expires":\d+`), `"expires":MILLIS`},
	{regexp.MustCompile(`"(last_heartbeat_age|controller_heartbeat_age)":\d+`), `"$1":SECONDS`},
	{regexp.MustCompile(`lk-[a-z0-9]{14}`), `lk-RANDOM`},
	{regexp.MustCompile(`"backend_id":"[a-z0-9]{14}"`), `"backend_id":"RANDOM"`},
	{regexp.MustCompile(`"volume":"[a-z0-9-]+"`), `"volume":"VOLUME"`},
	{regexp.MustCompile(`/b/[a-z0-9]{14}/`), `/b/RANDOM/`},
}

// say makes a request and writes both sides down.
func (x *exchange) say(method, path, body string, header ...string) string {
	x.t.Helper()
	resp, answer := x.site.Do(x.t, method, path, body, header...)
	fmt.Fprintf(&x.log, "> %s %s %s\n< %d", method, path, body, resp.StatusCode)
	for _, name := range []string{"Content-Type", "Allow", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Vary", "Cache-Control", "Retry-After", "Server", "WWW-Authenticate"} {
		if v, ok := resp.Header[http.CanonicalHeaderKey(name)]; ok {
			fmt.Fprintf(&x.log, " %s=%s", strings.ToLower(name), strings.Join(v, "|"))
		}
	}
	shown := strings.ToValidUTF8(answer, "<broken>")
	for _, c := range changing {
		shown = c.pattern.ReplaceAllString(shown, c.instead)
	}
	fmt.Fprintf(&x.log, "\n%s\n\n", shown)
	return answer
}

func (x *exchange) compare(name string) {
	x.t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			x.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(x.log.String()), 0o644); err != nil {
			x.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		x.t.Fatal(err)
	}
	if got := x.log.String(); got != string(want) {
		x.t.Errorf("answers differ from %s:\n%s", file, difference(string(want), got))
	}
}

func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, a, b)
		}
	}
	return ""
}

const spawnEcho = `"executable":{"command":["/bin/echo"]}`

func TestAnswersAreThoseOfTheContract(t *testing.T) {
	x := &exchange{t: t, site: insecure(t)}
	x.say("GET", "/pub/health", "")
	x.say("HEAD", "/pub/health", "")
	x.say("OPTIONS", "/pub/health", "")
	x.say("OPTIONS", "/pub/b/x/status", "")
	x.say("POST", "/pub/health", "")
	x.say("GET", "/pub/health/", "")
	x.say("GET", "/pub/nothing", "")
	x.say("OPTIONS", "/pub/nothing", "")
	x.say("GET", "/", "")
	x.say("GET", "/pub//health", "")
	x.say("GET", "/pub/x/../health", "")
	x.say("GET", "/pub/b/nobody/status", "")
	x.say("GET", "/pub/b/a%2Fb%20c/status", "")
	x.say("GET", "/pub/b/nobody/status-stream", "")

	x.say("GET", "/ctrl/status", "")
	x.say("POST", "/ctrl/status", "null")
	x.say("OPTIONS", "/ctrl/status", "")
	x.say("GET", "/ctrl/connect", "")
	x.say("GET", "/ctrl/nothing", "")
	x.say("GET", "/ctrl/c/unknown/state", "")
	x.say("GET", "/ctrl/dns-socket", "")

	x.say("POST", "/ctrl/connect", `{}`)
	x.say("POST", "/ctrl/connect", `{"key":{"name":"one"}}`)
	x.say("POST", "/ctrl/connect", `{"key":{"name":"one","tag":"v1"},"spawn_config":{"id":"one",`+spawnEcho+`},"user":"alice","auth":{"role":"editor"},"wait":"ready"}`)
	x.say("POST", "/ctrl/connect", `{"key":{"name":"one","tag":"v1"}}`)
	x.say("POST", "/ctrl/connect", `{"key":{"name":"one","tag":"v1"},"token_lifetime_seconds":60}`)
	x.say("POST", "/ctrl/connect", `{"key":{"name":"one","tag":"v2"}}`)
	x.say("POST", "/ctrl/connect", `{"key":{"name":"two"},"spawn_config":{"id":"one",`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/connect", `{"key":{"name":"static"},"spawn_config":{"id":"static","subdomain":"sub","use_static_token":true,`+spawnEcho+`},"wait":"ready"}`)
	x.say("POST", "/ctrl/connect", `{"key":{"name":"static"},"user":"bob"}`)
	x.say("POST", "/ctrl/connect", `{"spawn_config":{`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/connect", `{"spawn_config":{"pool":"gpu",`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/connect", `{"spawn_config":{"cluster":"elsewhere.example",`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/connect", `{"spawn_config":{"executable":{"image":"a"}}}`)
	x.say("POST", "/ctrl/connect", `{"spawn_config":{"executable":null}}`)
	x.say("POST", "/ctrl/connect", `{"spawn_config":{"id":"../x",`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/connect", `{"spawn_config":{"cluster":"a b",`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/connect", `{"spawn_config":{"subdomain":"a--b",`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/connect", `{"spawn_config":{"executable":{"command":["a"],"memory":1}}}`)
	x.say("POST", "/ctrl/connect", `{"key":{}}`)
	x.say("POST", "/ctrl/connect", `{"key":`)
	x.say("POST", "/ctrl/connect", `{"user":"a"}`, "Content-Type", "text/plain")
	x.say("POST", "/ctrl/connect", ``)

	x.say("GET", "/pub/b/one/status", "")
	x.say("GET", "/ctrl/b/one", "")
	x.say("GET", "/ctrl/b/nobody", "")
	x.say("GET", "/ctrl/b/one/logs", "")
	x.say("GET", "/ctrl/b/one/logs?tail=1", "")
	x.say("GET", "/ctrl/b/one/logs?follow=1", "")
	x.say("GET", "/ctrl/b/one/logs?tail=-1", "")
	x.say("GET", "/ctrl/b/nobody/logs", "")
	x.say("GET", "/ctrl/backends?key_prefix=one&namespace=", "")
	x.say("GET", "/ctrl/backends?limit=1001", "")
	x.say("GET", "/ctrl/backends?clutser=a", "")
	x.say("GET", "/ctrl/backends?status=raedy", "")
	x.say("GET", "/ctrl/explain?name=nothing", "")
	x.say("GET", "/ctrl/explain", "")
	x.say("GET", "/ctrl/c/localhost:9090/state", "")

	x.say("POST", "/ctrl/b/revoke", `{"backend_id":"one","user":"alice"}`)
	x.say("POST", "/ctrl/b/revoke", `{"backend_id":"one"}`)
	x.say("POST", "/ctrl/b/one/soft-terminate", "null")
	x.say("POST", "/ctrl/b/nobody/soft-terminate", "null")
	x.say("POST", "/ctrl/b/nobody/hard-terminate", "null")
	x.say("GET", "/pub/b/one/status-stream", "")
	x.say("GET", "/pub/b/one/status-stream", "", "Last-Event-ID", "waiting")
	x.say("GET", "/pub/b/one/status-stream", "", "Last-Event-ID", "nonsense")
	x.say("GET", "/pub/b/one/status-stream", "", "Last-Event-ID", "terminated")
	x.say("HEAD", "/pub/b/one/status-stream", "")
	x.say("GET", "/pub/b/one/status", "")
	x.say("GET", "/ctrl/b/one", "")
	x.say("POST", "/ctrl/b/one/hard-terminate", "")

	x.say("POST", "/ctrl/c/localhost:9090/d/dr-scripted/drain", "null")
	x.say("POST", "/ctrl/c/localhost:9090/d/dr-scripted/drain", "")
	x.say("POST", "/ctrl/connect", `{"spawn_config":{`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/c/localhost:9090/d/dr-scripted/undrain", "null")
	x.say("POST", "/ctrl/c/localhost:9090/d/dr-scripted/undrain", "null")
	x.say("POST", "/ctrl/c/localhost:9090/d/dr-nobody/drain", "null")
	x.say("DELETE", "/ctrl/c/localhost:9090/nodes/dr-nobody", "")
	x.compare("contract.golden")
}

func TestFaultsOfTheStoreSayWhatTheContractSays(t *testing.T) {
	x := &exchange{t: t, site: apitest.New(t, api.Options{Insecure: true})}
	if err := x.site.DB.Close(); err != nil {
		t.Fatal(err)
	}
	x.say("GET", "/pub/health", "")
	x.say("GET", "/pub/b/one/status", "")
	x.say("GET", "/pub/b/one/status-stream", "")
	x.say("GET", "/ctrl/status", "")
	x.say("GET", "/ctrl/c/localhost:9090/state", "")
	x.say("POST", "/ctrl/connect", `{"key":{"name":"a"},"spawn_config":{`+spawnEcho+`}}`)
	x.say("POST", "/ctrl/b/one/soft-terminate", "null")
	x.say("POST", "/ctrl/b/revoke", `{"backend_id":"one","user":"alice"}`)
	x.say("POST", "/ctrl/c/localhost:9090/d/dr-a/drain", "null")
	x.compare("faults.golden")
}

func TestErrorIDsAreInTheLog(t *testing.T) {
	s := apitest.New(t, api.Options{Insecure: true})
	_, answer := s.Do(t, "POST", "/ctrl/connect", `{}`, "X-Request-Id", "req-7")
	var e struct{ ID, Kind, Message string }
	if err := json.Unmarshal([]byte(answer), &e); err != nil || !regexp.MustCompile(`^[a-z0-9]{14}$`).MatchString(e.ID) {
		t.Fatalf("%s: %v", answer, err)
	}
	log := s.Log.String()
	if !strings.Contains(log, "error_id="+e.ID) || !strings.Contains(log, "request_id=req-7") || !strings.Contains(log, "level=WARN") {
		t.Errorf("log: %s", log)
	}
}

func TestRequestIDsOfCallersAreKeptIfSane(t *testing.T) {
	s := apitest.New(t, api.Options{Insecure: true})
	for id, kept := range map[string]bool{"a-1_B.2": true, strings.Repeat("x", 64): true, "": false, strings.Repeat("x", 65): false, "a b": false, "a\"b": false, "é": false} {
		resp, _ := s.Do(t, "GET", "/ctrl/status", "", "X-Request-Id", id)
		if got := resp.Header.Get("X-Request-Id"); got == "" || (got == id) != kept {
			t.Errorf("%q became %q", id, got)
		}
	}
}

// TestBodiesHaveALimit sends no byte more than what the limit is judged by: an
// answer is lost to a client that still writes when the connection is closed.
func TestBodiesHaveALimit(t *testing.T) {
	s := apitest.New(t, api.Options{Insecure: true})
	const limit = 2097152
	for how, rest := range map[string]string{
		"announced": fmt.Sprintf("Content-Length: %d\n\n", limit+1),
		"chunked":   fmt.Sprintf("Transfer-Encoding: chunked\n\n%x\n%s", limit+1, `{"user":"`+strings.Repeat("x", limit+1-len(`{"user":"`))),
	} {
		resp := s.Send(t, "POST /ctrl/connect HTTP/1.1\nHost: localhost\nContent-Type: application/json\nConnection: close\n"+rest)
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d", how, resp.StatusCode)
		}
	}
	fits := `{"user":` + strings.Repeat(" ", 2097152-len(`{"user":}`)-4) + `null}`
	if resp, answer := s.Do(t, "POST", "/ctrl/connect", fits); resp.StatusCode != http.StatusConflict {
		t.Errorf("%d bytes: %d %s", len(fits), resp.StatusCode, answer)
	}
}
