package api

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"plane"
)

func TestTemplatesAreReadStrictly(t *testing.T) {
	const x = `"command":["/bin/echo"]`
	for body, field := range map[string]string{
		`[]`:                              "the body",
		`{}`:                              "command",
		`{"comand":["a"]}`:                "comand",
		`{"Command":["a"]}`:               "Command",
		`{` + x + `,` + x + `}`:           "command",
		`{` + x + `,"port":80}`:           "port",
		`{"image":"a","read_only":"yes"}`: "read_only",
		`{"image":"a","read_Only":true}`:  "read_Only",
		`{"image":"a","mount":"/srv"}`:    "mount",
		`{"image":"a","credentials":{"user":"b"}}`:                      "credentials.user",
		`{"image":"a","credentials":"b:c"}`:                             "credentials",
		`{"image":"a","credentials":{"username":"b"}}`:                  "credentials",
		`{"image":"a","egress":"private"}`:                              "egress",
		`{"command":"a"}`:                                               "command",
		`{"command":[""]}`:                                              "command",
		`{` + x + `,"dir":"sub"}`:                                       "dir",
		`{` + x + `,"idle":[]}`:                                         "idle",
		`{` + x + `,"idle":[ ]}`:                                        "idle",
		`{` + x + `,"idle":["naps"]}`:                                   "idle",
		`{` + x + `,"data":"forever"}`:                                  "data",
		`{` + x + `,"ports":{"a":0}}`:                                   "ports.a",
		`{` + x + `,"env":{"A":1}}`:                                     "env",
		`{` + x + `,"max_idle_seconds":"5"}`:                            "max_idle_seconds",
		`{` + x + `,"max_idle_seconds":-1}`:                             "max_idle_seconds",
		`{` + x + `,"resource_limits":{"memory":1}}`:                    "resource_limits.memory",
		`{` + x + `,"resource_limits":5}`:                               "resource_limits",
		`{` + x + `,"resource_limits":{"memory_limit_bytes":1}}`:        "resource_limits.memory_limit_bytes",
		`{` + x + `,"resource_limits":{"pids_limit":9,"pids_limit":9}}`: "resource_limits.pids_limit",
		`{` + x + `,"access":"forward-auth"}`:                           "access",
		`{` + x + `,"spawn_config":{}}`:                                 "spawn_config",
	} {
		v, bad := parse([]byte(body))
		if bad != nil {
			t.Fatal(body, bad)
		}
		_, err := decodeTemplate(v)
		t.Run(body, func(t *testing.T) { wantField(t, err, field) })
	}
	v, _ := parse([]byte(`{` + x + `,"env":null,"max_idle_seconds":null,"data":"keep","idle":["holds"],"ports":{"metrics":9100}}`))
	if got, err := decodeTemplate(v); err != nil || got.Data != plane.DataKeep || got.Ports["metrics"] != 9100 {
		t.Errorf("%+v %v", got, err)
	}
}

// TestTheListsOfFieldsAreComplete keeps a new field of a template from being
// one that the API refuses.
func TestTheListsOfFieldsAreComplete(t *testing.T) {
	for _, c := range []struct {
		of   reflect.Type
		list []string
	}{{reflect.TypeFor[plane.Template](), templateFields}, {reflect.TypeFor[plane.ResourceLimits](), limitFields}, {reflect.TypeFor[plane.Credentials](), credentialFields}} {
		var names []string
		for i := range c.of.NumField() {
			name, _, _ := strings.Cut(c.of.Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
		slices.Sort(names)
		if known := slices.Sorted(slices.Values(c.list)); !slices.Equal(names, known) {
			t.Errorf("%s has %v, the API takes %v", c.of, names, known)
		}
	}
}

func TestReleaseBodies(t *testing.T) {
	for body, want := range map[string]int64{`{}`: 0, `{"release":null}`: 0, `{"release":3}`: 3} {
		v, _ := parse([]byte(body))
		if got, err := decodeRelease(v); err != nil || got != want {
			t.Errorf("%s: %d %v", body, got, err)
		}
	}
	for body, field := range map[string]string{`{"release":0}`: "release", `{"release":"3"}`: "release", `{"relaese":3}`: "relaese", `null`: "the body"} {
		v, _ := parse([]byte(body))
		_, err := decodeRelease(v)
		wantField(t, err, field)
	}
}
