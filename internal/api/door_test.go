package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"plane/internal/api"
	"plane/internal/api/apitest"
	"plane/internal/controller"
	"plane/internal/wire"
)

// insecure is a site without keys and with a drone.
func insecure(t testing.TB) *apitest.Site {
	t.Helper()
	s := apitest.New(t, api.Options{Insecure: true})
	s.StartDrone(t, nil)
	return s
}

func TestTrap46_WebPagesReachNothing(t *testing.T) {
	s := insecure(t)
	const spawn = `{"key":{"name":"evil"},"spawn_config":{"executable":{"command":["/bin/true"]}}}`
	post := func(path, head, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\n%s\nContent-Length: %d\nConnection: close\n\n%s", path, head, len(body), body)
	}
	get := func(path, head string) string {
		return fmt.Sprintf("GET %s HTTP/1.1\n%s\nConnection: close\n\n", path, head)
	}
	const upgrade = "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	for name, c := range map[string]struct {
		request string
		want    int
	}{
		"a rebound name":                   {post("/ctrl/connect", "Host: evil.example:8080\nContent-Type: application/json", spawn), 403},
		"a rebound name on /pub":           {get("/pub/health", "Host: evil.example"), 403},
		"a rebound name, reading":          {get("/ctrl/backends", "Host: evil.example"), 403},
		"a rebound name, unknown path":     {get("/nothing", "Host: evil.example"), 403},
		"no host":                          {"GET /ctrl/status HTTP/1.0\n\n", 403},
		"a script's request":               {post("/ctrl/connect", "Host: localhost\nOrigin: http://evil.example\nContent-Type: application/json", spawn), 403},
		"a script of a backend's page":     {post("/ctrl/connect", "Host: localhost\nOrigin: http://doc.localhost:9090\nContent-Type: application/json", spawn), 403},
		"a sandboxed frame":                {post("/ctrl/connect", "Host: localhost\nOrigin: null\nContent-Type: application/json", spawn), 403},
		"an empty origin":                  {post("/ctrl/connect", "Host: localhost\nOrigin: \nContent-Type: application/json", spawn), 403},
		"the same origin":                  {post("/ctrl/connect", "Host: localhost:8080\nOrigin: http://localhost:8080\nContent-Type: application/json", spawn), 403},
		"a form as text":                   {post("/ctrl/connect", "Host: localhost\nContent-Type: text/plain", spawn), 415},
		"a form":                           {post("/ctrl/connect", "Host: localhost\nContent-Type: application/x-www-form-urlencoded", spawn), 415},
		"an upload":                        {post("/ctrl/connect", "Host: localhost\nContent-Type: multipart/form-data; boundary=x", spawn), 415},
		"no content type":                  {post("/ctrl/connect", "Host: localhost", spawn), 415},
		"a form where the body is ignored": {post("/ctrl/b/x/hard-terminate", "Host: localhost\nContent-Type: text/plain", "x=1"), 415},
		"a beacon":                         {post("/ctrl/b/x/hard-terminate", "Host: localhost\nOrigin: http://evil.example", ""), 403},
		"an image of another site":         {get("/ctrl/backends", "Host: localhost\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors"), 403},
		"an image of a sibling":            {get("/ctrl/backends", "Host: localhost\nSec-Fetch-Site: same-site"), 403},
		"a preflight":                      {"OPTIONS /ctrl/connect HTTP/1.1\nHost: localhost\nOrigin: http://evil.example\nAccess-Control-Request-Method: POST\nConnection: close\n\n", 405},
		"a page's socket":                  {get("/ctrl/c/localhost:9090/drone-socket", "Host: localhost\nOrigin: http://evil.example\n"+upgrade), 403},
		"a page's proxy socket":            {get("/ctrl/c/localhost:9090/proxy-socket", "Host: localhost\nOrigin: http://localhost\n"+upgrade), 403},
		"a rebound socket":                 {get("/ctrl/c/localhost:9090/drone-socket", "Host: evil.example\n"+upgrade), 403},
		"a person who types the address":   {get("/ctrl/status", "Host: localhost\nSec-Fetch-Site: none\nSec-Fetch-Mode: navigate"), 200},
		"a program":                        {get("/ctrl/status", "Host: 127.0.0.1:8080"), 200},
		"a page that reads a status by id": {get("/pub/health", "Host: localhost\nOrigin: http://evil.example\nSec-Fetch-Site: cross-site"), 200},
	} {
		t.Run(name, func(t *testing.T) {
			resp := s.Send(t, c.request)
			if resp.StatusCode != c.want {
				b, _ := io.ReadAll(resp.Body)
				t.Errorf("%d %s", resp.StatusCode, b)
			}
			if v := resp.Header.Get("Access-Control-Allow-Origin"); v != "" && !strings.Contains(c.request, "/pub/") {
				t.Errorf("CORS on /ctrl: %s", v)
			}
		})
	}
	if _, list := s.Do(t, "GET", "/ctrl/backends", ""); list != `{"backends":[],"next":null}` {
		t.Errorf("a web page started something: %s", list)
	}
}

func TestListedOriginsAndHostsMayCall(t *testing.T) {
	s := apitest.New(t, api.Options{Insecure: true, Origins: []string{"https://console.example"}, Hosts: []string{"Plane.example"}})
	for header, want := range map[string]int{
		"Host: plane.example:8080\nOrigin: https://console.example\nSec-Fetch-Site: same-origin": 200,
		"Host: plane.example\nOrigin: https://console.example.evil":                              403,
		"Host: other.example": 403,
	} {
		resp := s.Send(t, "GET /ctrl/status HTTP/1.1\n"+header+"\nConnection: close\n\n")
		if resp.StatusCode != want || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %v", header, resp.StatusCode, resp.Header)
		}
	}
}

func TestWithoutKeysOnlyThisMachineIsServed(t *testing.T) {
	s := apitest.New(t, api.Options{Insecure: true})
	for peer, want := range map[string]int{"10.1.2.3:4": 403, "127.0.0.1:4": 200} {
		r := httptest.NewRequest("GET", "http://localhost/ctrl/status", nil)
		r.RemoteAddr = peer
		w := httptest.NewRecorder()
		s.API.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d", peer, w.Code)
		}
	}
}

// operatorKey makes an API key on the operator's socket.
func operatorKey(t *testing.T, s *apitest.Site, grants ...string) controller.APIKeyView {
	t.Helper()
	op := httptest.NewServer(s.API.Operator())
	defer op.Close()
	body, _ := json.Marshal(map[string]any{"name": "test", "grants": grants})
	resp, err := http.Post(op.URL+"/ctrl/api-keys", "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var key controller.APIKeyView
	if err := json.NewDecoder(resp.Body).Decode(&key); err != nil || resp.StatusCode != 200 || key.Secret == "" {
		t.Fatalf("%s %v", resp.Status, err)
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		t.Error("an answer with a secret may be stored")
	}
	return key
}

func TestAPIKeysOpenWhatTheyGrant(t *testing.T) {
	s := apitest.New(t, api.Options{})
	all := operatorKey(t, s, "*")
	team := operatorKey(t, s, "connect:team-a/*", "read:team-a/*")
	node := operatorKey(t, s, "node")
	s.StartDrone(t, http.Header{"Authorization": {"Bearer " + node.Secret}})

	connect := func(namespace string) string {
		return `{"key":{"name":"a","namespace":"` + namespace + `"},"spawn_config":{` + spawnEcho + `}}`
	}
	for _, c := range []struct {
		name, method, path, body, secret string
		want                             int
	}{
		{"no key", "GET", "/ctrl/status", "", "", 401},
		{"a wrong key", "GET", "/ctrl/status", "", "nonsense", 401},
		{"no key on /pub", "GET", "/pub/health", "", "", 200},
		{"any key", "GET", "/ctrl/status", "", team.Secret, 200},
		{"the own namespace", "POST", "/ctrl/connect", connect("team-a"), team.Secret, 200},
		{"another namespace", "POST", "/ctrl/connect", connect("team-b"), team.Secret, 403},
		{"another verb", "POST", "/ctrl/c/localhost:9090/d/dr-scripted/drain", "null", team.Secret, 403},
		{"the cluster", "GET", "/ctrl/c/localhost:9090/state", "", team.Secret, 403},
		{"keys by a key without the grant", "POST", "/ctrl/api-keys", `{"name":"x","grants":["*"]}`, team.Secret, 403},
		{"everything", "POST", "/ctrl/c/localhost:9090/d/dr-scripted/drain", "null", all.Secret, 200},
		{"a list of keys", "GET", "/ctrl/api-keys", "", all.Secret, 200},
		{"unknown grants", "POST", "/ctrl/api-keys", `{"name":"x","grants":["conect"]}`, all.Secret, 422},
		{"a node as a caller", "POST", "/ctrl/connect", connect("team-a"), node.Secret, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			var header []string
			if c.secret != "" {
				header = []string{"Authorization", "bearer " + c.secret}
			}
			resp, answer := s.Do(t, c.method, c.path, c.body, header...)
			if resp.StatusCode != c.want {
				t.Errorf("%d %s", resp.StatusCode, answer)
			}
			if (resp.StatusCode == 401) != (resp.Header.Get("WWW-Authenticate") == "Bearer") {
				t.Error("WWW-Authenticate is wrong")
			}
			if strings.Contains(answer, all.Secret) {
				t.Error("a secret is shown again")
			}
		})
	}

	t.Run("sockets need the grant node", func(t *testing.T) {
		for _, socket := range []string{"drone", "proxy"} {
			for secret, want := range map[string]string{"": "401", team.Secret: "403"} {
				_, err := wire.Dial(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http")+"/ctrl/c/localhost:9090/"+socket+"-socket", http.DefaultClient, http.Header{"Authorization": {"Bearer " + secret}})
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s socket: %v", socket, err)
				}
			}
		}
	})
	t.Run("a deleted key opens nothing", func(t *testing.T) {
		if resp, answer := s.Do(t, "DELETE", "/ctrl/api-keys/"+team.ID, "", "Authorization", "Bearer "+all.Secret); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, answer)
		}
		if resp, _ := s.Do(t, "GET", "/ctrl/status", "", "Authorization", "Bearer "+team.Secret); resp.StatusCode != 401 {
			t.Errorf("%d", resp.StatusCode)
		}
		if resp, _ := s.Do(t, "DELETE", "/ctrl/api-keys/"+team.ID, "", "Authorization", "Bearer "+all.Secret); resp.StatusCode != 404 {
			t.Errorf("%d", resp.StatusCode)
		}
	})
}

func TestActorsAndRequestsAreInTheEvents(t *testing.T) {
	s := insecure(t)
	if resp, answer := s.Do(t, "POST", "/ctrl/connect", `{"key":{"name":"a"},"spawn_config":{`+spawnEcho+`}}`, "X-Request-Id", "req-42"); resp.StatusCode != 200 {
		t.Fatal(answer)
	}
	resp, lines := s.Do(t, "GET", "/ctrl/events?since=0", "")
	if resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Error(resp.Header)
	}
	found := false
	for line := range strings.Lines(lines) {
		var e controller.EventView
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		found = found || e.RequestID == "req-42" && e.Actor == "loopback" && e.Key != nil && e.Key.Name == "a"
	}
	if !found {
		t.Errorf("no event of the connect:\n%s", lines)
	}
}

func TestForwardAuthDecides(t *testing.T) {
	type ask struct {
		method, uri string
		header      http.Header
		length      int64
	}
	asks := make(chan ask, 1)
	answer := 204
	auth := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks <- ask{r.Method, r.URL.String(), r.Header, r.ContentLength}
		w.Header().Set("Location", "/login")
		w.WriteHeader(answer)
	}))
	defer auth.Close()
	trust(t, auth)

	s := apitest.New(t, api.Options{ForwardAuth: auth.URL + "/check?a=b"})
	resp, body := s.Do(t, "POST", "/ctrl/connect?x=1", `{}`, "Authorization", "Bearer hunter2", "Cookie", "a=b", "X-Secret", "no", "X-Original-Path", "/forged")
	if resp.StatusCode != 409 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	got := <-asks
	if got.method != "POST" || got.uri != "/check?a=b" || got.length != 0 {
		t.Errorf("%+v", got)
	}
	want := map[string]string{"Authorization": "Bearer hunter2", "Cookie": "a=b", "X-Original-Path": "/connect", "X-Secret": "", "Content-Type": ""}
	for name, v := range want {
		if got.header.Get(name) != v {
			t.Errorf("%s: %q", name, got.header.Get(name))
		}
	}
	for _, answer = range []int{200, 299} {
		resp, _ = s.Do(t, "GET", "/ctrl/status", "")
		<-asks
		if resp.StatusCode != 200 {
			t.Errorf("%d became %d", answer, resp.StatusCode)
		}
	}
	for _, answer = range []int{302, 401, 403, 500} {
		resp, body = s.Do(t, "GET", "/ctrl/status", "")
		<-asks
		if resp.StatusCode != 401 || body != "Unauthorized" || resp.Header.Get("Content-Type") != "" {
			t.Errorf("%d became %d %q %v", answer, resp.StatusCode, body, resp.Header)
		}
	}
	if resp, _ = s.Do(t, "GET", "/ctrl/nothing", ""); resp.StatusCode != 404 || len(asks) != 0 {
		t.Errorf("an unknown route was asked about: %d", resp.StatusCode)
	}
	if resp, _ = s.Do(t, "GET", "/pub/health", ""); resp.StatusCode != 200 || len(asks) != 0 {
		t.Errorf("/pub was asked about: %d", resp.StatusCode)
	}
	auth.Close()
	if resp, body = s.Do(t, "GET", "/ctrl/status", ""); resp.StatusCode != 502 || body != "Error forwarding auth." {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// trust makes the default transport believe the server's certificate.
func trust(t *testing.T, s *httptest.Server) {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport)
	before := transport.TLSClientConfig
	transport.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	t.Cleanup(func() { transport.TLSClientConfig = before })
}

func TestSocketsCheckTheCluster(t *testing.T) {
	s := apitest.New(t, api.Options{Insecure: true})
	const upgrade = "Host: localhost\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n"
	for _, socket := range []string{"drone", "proxy"} {
		resp := s.Send(t, "GET /ctrl/c/a%20b/"+socket+"-socket HTTP/1.1\n"+upgrade)
		b, _ := io.ReadAll(io.LimitReader(resp.Body, resp.ContentLength))
		if resp.StatusCode != 400 || !strings.Contains(string(b), `"kind":"InvalidClusterName","message":"Invalid cluster name"`) {
			t.Errorf("%d %s", resp.StatusCode, b)
		}
		resp, answer := s.Do(t, "GET", "/ctrl/c/localhost:9090/"+socket+"-socket", "")
		if !slices.Contains([]int{400, 426}, resp.StatusCode) {
			t.Errorf("no upgrade: %d %s", resp.StatusCode, answer)
		}
	}
}

func TestStreamsEndWithTheServer(t *testing.T) {
	s := insecure(t)
	s.Do(t, "POST", "/ctrl/connect", `{"spawn_config":{"id":"one",`+spawnEcho+`},"wait":"ready"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, path := range []string{"/pub/b/one/status-stream", "/ctrl/events?follow=1"} {
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-cache" {
			t.Error(resp.Header)
		}
		b := make([]byte, 6)
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "data: " {
			t.Errorf("%s: %q %v", path, b, err)
		}
	}
}
