package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"plane"
	"plane/internal/controller"
)

func connectRequest(body string) (controller.ConnectRequest, error) {
	v, bad := parse([]byte(body))
	if bad != nil {
		return controller.ConnectRequest{}, bad
	}
	return decodeConnect(v, false)
}

// TestMissingAndNullMeanWhatTheContractSays is the table of contract §2.1.
func TestMissingAndNullMeanWhatTheContractSays(t *testing.T) {
	const x = `"executable":{"command":["a"]}`
	for _, c := range []struct {
		field         string
		missing, null string // bodies
		missingOK     bool
		nullOK        bool
	}{
		{"key", `{}`, `{"key":null}`, true, true},
		{"key.name", `{"key":{}}`, `{"key":{"name":null}}`, false, false},
		{"key.namespace", `{"key":{"name":"a"}}`, `{"key":{"name":"a","namespace":null}}`, true, false},
		{"key.tag", `{"key":{"name":"a"}}`, `{"key":{"name":"a","tag":null}}`, true, false},
		{"spawn_config", `{}`, `{"spawn_config":null}`, true, true},
		{"spawn_config.id", `{"spawn_config":{` + x + `}}`, `{"spawn_config":{"id":null,` + x + `}}`, true, true},
		{"spawn_config.cluster", `{"spawn_config":{` + x + `}}`, `{"spawn_config":{"cluster":null,` + x + `}}`, true, true},
		{"spawn_config.pool", `{"spawn_config":{` + x + `}}`, `{"spawn_config":{"pool":null,` + x + `}}`, true, false},
		{"spawn_config.executable", `{"spawn_config":{}}`, `{"spawn_config":{"executable":null}}`, false, true},
		{"spawn_config.lifetime_limit_seconds", `{"spawn_config":{` + x + `}}`, `{"spawn_config":{"lifetime_limit_seconds":null,` + x + `}}`, true, true},
		{"spawn_config.max_idle_seconds", `{"spawn_config":{` + x + `}}`, `{"spawn_config":{"max_idle_seconds":null,` + x + `}}`, true, true},
		{"spawn_config.use_static_token", `{"spawn_config":{` + x + `}}`, `{"spawn_config":{"use_static_token":null,` + x + `}}`, true, false},
		{"spawn_config.subdomain", `{"spawn_config":{` + x + `}}`, `{"spawn_config":{"subdomain":null,` + x + `}}`, true, true},
		{"user", `{}`, `{"user":null}`, true, true},
		{"auth", `{}`, `{"auth":null}`, true, false},
	} {
		for _, b := range []struct {
			how, body string
			ok        bool
		}{{"missing", c.missing, c.missingOK}, {"null", c.null, c.nullOK}} {
			t.Run(c.field+" "+b.how, func(t *testing.T) {
				_, err := connectRequest(b.body)
				if b.ok {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantField(t, err, c.field)
			})
		}
	}
}

func wantField(t *testing.T, err error, field string) {
	t.Helper()
	var e *plane.Error
	if !errors.As(err, &e) {
		t.Fatalf("no error for %s: %v", field, err)
	}
	if e.Kind != plane.BadRequest || status(e) != 422 || e.Field != field {
		t.Errorf("kind %s, status %d, field %q (want %q): %s", e.Kind, status(e), e.Field, field, e.Message)
	}
	if !strings.HasSuffix(e.Message, ".") && !strings.HasSuffix(e.Message, "?") {
		t.Errorf("not a sentence: %q", e.Message)
	}
}

func TestWrongTypesNameTheirField(t *testing.T) {
	spawn := func(member string) string { return fmt.Sprintf(`{"spawn_config":{"executable":{},%s}}`, member) }
	for body, field := range map[string]string{
		`[]`:                                   "the body",
		`null`:                                 "the body",
		`{"key":"a"}`:                          "key",
		`{"key":{"name":1}}`:                   "key.name",
		`{"key":{"name":"a","tag":[]}}`:        "key.tag",
		`{"key":{"name":"a\u0000"}}`:           "key.name",
		`{"spawn_config":[]}`:                  "spawn_config",
		spawn(`"pool":1`):                      "spawn_config.pool",
		spawn(`"max_idle_seconds":1.5`):        "spawn_config.max_idle_seconds",
		spawn(`"max_idle_seconds":"1"`):        "spawn_config.max_idle_seconds",
		spawn(`"max_idle_seconds":3e0`):        "spawn_config.max_idle_seconds",
		spawn(`"max_idle_seconds":2147483648`): "spawn_config.max_idle_seconds",
		spawn(`"use_static_token":1`):          "spawn_config.use_static_token",
		spawn(`"subdomain":true`):              "spawn_config.subdomain",
		`{"user":1}`:                           "user",
		`{"auth":"x"}`:                         "auth",
		`{"auth":[]}`:                          "auth",
		`{"wait":"started"}`:                   "wait",
		`{"wait_seconds":121}`:                 "wait_seconds",
		`{"wait_seconds":0}`:                   "wait_seconds",
		`{"token_lifetime_seconds":0}`:         "token_lifetime_seconds",
		`{"port":1}`:                           "port",
	} {
		t.Run(body, func(t *testing.T) {
			_, err := connectRequest(body)
			wantField(t, err, field)
		})
	}
}

func TestMisspeltAndRepeatedFieldsAreRefusedByName(t *testing.T) {
	for body, field := range map[string]string{
		`{"spawnconfig":{}}`:                                     "spawnconfig",
		`{"Key":{"name":"a"}}`:                                   "Key",
		`{"key":{"name":"a"},"key":{"name":"b"}}`:                "key",
		`{"key":{"name":"a","Namespace":"b"}}`:                   "key.Namespace",
		`{"spawn_config":{"executable":{},"max_idle_second":5}}`: "spawn_config.max_idle_second",
		`{"spawn_config":{"executable":{},"lifetime_limit":5}}`:  "spawn_config.lifetime_limit",
		`{"spawn_config":{"executable":{},"executable":{}}}`:     "spawn_config.executable",
	} {
		t.Run(body, func(t *testing.T) {
			_, err := connectRequest(body)
			wantField(t, err, field)
		})
	}
	_, err := connectRequest(`{"spawn_config":{"executable":{},"max_idle_second":5}}`)
	if err == nil || !strings.Contains(err.Error(), `did you mean "max_idle_seconds"?`) {
		t.Errorf("no suggestion: %v", err)
	}
}

func TestConnectTakesAllThatTheContractShows(t *testing.T) {
	req, err := connectRequest(`{
  "key": {"name":"doc-17","namespace":"team-a","tag":"v3"},
  "spawn_config": {
    "id": null, "cluster": "c1.example.org", "pool": "gpu",
    "executable": {"image": "registry.example.org/app:7"},
    "lifetime_limit_seconds": 3600, "max_idle_seconds": 60, "use_static_token": false, "subdomain": null
  },
  "user": "alice", "auth": {"role":"editor"},
  "wait": "ready", "wait_seconds": 30, "token_lifetime_seconds": 600, "port": "metrics"
}`)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(req)
	want := `{"Key":{"name":"doc-17","namespace":"team-a","tag":"v3"},"Spec":{"cluster":"c1.example.org","pool":"gpu","executable":{"image":"registry.example.org/app:7"},"lifetime_limit_seconds":3600,"max_idle_seconds":60},"App":"","User":"alice","Auth":{"role":"editor"},"WaitReady":true,"WaitSeconds":30,"TokenLifetime":600,"Port":"metrics"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnAppMayStandForTheExecutable(t *testing.T) {
	for _, body := range []string{
		`{"app":"board","spawn_config":{"max_idle_seconds":5}}`,
		`{"spawn_config":{"max_idle_seconds":5},"app":"board"}`,
		`{"app":"board"}`,
	} {
		if req, err := connectRequest(body); err != nil || req.App != "board" {
			t.Errorf("%s: %+v %v", body, req, err)
		}
	}
}

func TestTheUnnamedAppMayStandForTheExecutable(t *testing.T) {
	v, _ := parse([]byte(`{"key":{"name":"a"},"spawn_config":{"max_idle_seconds":5}}`))
	if req, err := decodeConnect(v, true); err != nil || *req.Spec.MaxIdle != 5 {
		t.Errorf("%+v %v", req, err)
	}
}

func TestRevokeAndAPIKeyBodies(t *testing.T) {
	for body, field := range map[string]string{
		`{}`: "backend_id", `{"backend_id":"a"}`: "user", `{"user":"a"}`: "backend_id",
		`{"backend_id":"a","user":null}`: "user", `{"backend_id":1,"user":"a"}`: "backend_id",
	} {
		v, _ := parse([]byte(body))
		_, _, err := decodeRevoke(v)
		wantField(t, err, field)
	}
	for body, field := range map[string]string{
		`{}`: "grants", `{"grants":[]}`: "grants", `{"grants":"connect"}`: "grants", `{"grants":[1]}`: "grants", `{"grant":["*"]}`: "grant",
	} {
		v, _ := parse([]byte(body))
		_, _, err := decodeAPIKey(v)
		wantField(t, err, field)
	}
}

func BenchmarkDecodeConnect(b *testing.B) {
	body := []byte(`{"key":{"name":"doc-17","namespace":"team-a"},"user":"alice","auth":{"role":"editor"}}`)
	b.ReportAllocs()
	for b.Loop() {
		v, err := parse(body)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := decodeConnect(v, false); err != nil {
			b.Fatal(err)
		}
	}
}
