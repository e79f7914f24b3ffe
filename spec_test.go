package plane_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"plane"
)

func TestSpecs(t *testing.T) {
	const cmd = `"executable":{"command":["/bin/true"]}`
	for spec, field := range map[string]string{ // field that is wrong; "" = none
		`{}`:                              "",
		`{` + cmd + `}`:                   "",
		`{"executable":null}`:             "",
		`{"executable":{"image":"a:1"}}`:  "",
		`{"id":"b-1","cluster":"a.b:1"}`:  "",
		`{"lifetime_limit_seconds":1}`:    "",
		`{"max_idle_seconds":0}`:          "",
		`{"lease":"sticky"}`:              "",
		`{"id":""}`:                       "id",
		`{"id":"B"}`:                      "id",
		`{"cluster":"a:b"}`:               "cluster",
		`{"subdomain":"a--b"}`:            "subdomain",
		`{"lifetime_limit_seconds":0}`:    "lifetime_limit_seconds",
		`{"max_idle_seconds":-1}`:         "max_idle_seconds",
		`{"start_timeout_seconds":0}`:     "start_timeout_seconds",
		`{"stop_grace_seconds":-1}`:       "stop_grace_seconds",
		`{"lease":"slow"}`:                "lease",
		`{"executable":{}}`:               "executable",
		`{"executable":{"command":[]}}`:   "executable",
		`{"executable":[]}`:               "executable",
		`{"executable":{"comand":["a"]}}`: "executable",
		`{"executable":{"command":"a"}}`:  "executable",
		`{"executable":{"command":["a"],"image":"a","listen":"inherit"}}`: "executable.listen",
		`{"pool":"` + strings.Repeat("p", 129) + `"}`:                     "pool",
	} {
		var s plane.Spec
		if err := json.Unmarshal([]byte(spec), &s); err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		refused(t, spec, s.Check(), field, "spawn_config.")
	}
}

func TestExecutables(t *testing.T) {
	for x, field := range map[string]string{ // field that is wrong, "." = the whole; "" = none
		`{"command":["a"],"dir":"/d","listen":"inherit","env":{"A":"","B":"=\n"}}`:                                 "",
		`{"command":["a"],"resource_limits":{"memory_limit_bytes":1048576,"cpu_period_percent":50}}`:               "",
		`{"image":"a","pull_policy":"Always","credentials":{"username":"a","password":"b"},"mount":true,"env":{}}`: "",
		`{"command":[""]}`:                                              ".command",
		`{"command":["a","b\u0000"]}`:                                   ".command",
		`{"command":["a"],"dir":"d"}`:                                   ".dir",
		`{"command":["a"],"listen":"8080"}`:                             ".listen",
		`{"command":["a"],"env":{"":"a"}}`:                              ".env",
		`{"command":["a"],"env":{"A=B":"a"}}`:                           ".env",
		`{"command":["a"],"env":{"A":"\u0000"}}`:                        ".env",
		`{"command":["a"],"env":{"A":1}}`:                               ".",
		`{"image":"a","pull_policy":"always"}`:                          ".pull_policy",
		`{"command":["a"],"resource_limits":{"memory_limit_bytes":1}}`:  ".resource_limits.memory_limit_bytes",
		`{"command":["a"],"resource_limits":{"cpu_period":999}}`:        ".resource_limits.cpu_period",
		`{"command":["a"],"resource_limits":{"cpu_period_percent":0}}`:  ".resource_limits.cpu_period_percent",
		`{"command":["a"],"resource_limits":{"open_files_limit":7}}`:    ".resource_limits.open_files_limit",
		`{"command":["a"],"resource_limits":{"pids_limit":0}}`:          ".resource_limits.pids_limit",
		`{"command":["a"],"resource_limits":{"disk_limit_bytes":4095}}`: ".resource_limits.disk_limit_bytes",
		`{"command":["a"],"resource_limits":{"memory_limit":1}}`:        ".",
		`{`: ".",
	} {
		_, err := plane.ParseExecutable(json.RawMessage(x))
		refused(t, x, err, field, "spawn_config.executable")
	}
}

// refused fails unless err names the wrong field, or is nil if there is none.
func refused(t *testing.T, what string, err *plane.Error, field, at string) {
	t.Helper()
	switch {
	case field == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case field != "" && err == nil:
		t.Errorf("%s is taken, want %s refused", what, at+field)
	case field != "" && (err.Field != strings.TrimSuffix(at+field, ".") || err.Status != 422 || !strings.HasSuffix(err.Message, ".")):
		t.Errorf("%s: %+v, want 422 for %s in a sentence", what, err, at+field)
	}
}

func TestWhatASpecMeansWhereItSaysNothing(t *testing.T) {
	var s plane.Spec
	if s.StartLimit() != 5*time.Minute || s.Grace() != 30*time.Second || s.Policy() != plane.Balanced {
		t.Errorf("%v %v %v", s.StartLimit(), s.Grace(), s.Policy())
	}
	zero, two := int32(0), int32(2)
	s = plane.Spec{StartTimeout: &two, StopGrace: &zero, Lease: plane.Fast}
	if s.StartLimit() != 2*time.Second || s.Grace() != 0 || s.Policy() != plane.Fast {
		t.Errorf("%v %v %v", s.StartLimit(), s.Grace(), s.Policy())
	}
}

// FuzzParseExecutable: no input panics, and what is taken reads the same again.
func FuzzParseExecutable(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `[]`, `{"command":["a"],"env":{"A":"b"},"resource_limits":{"pids_limit":3}}`,
		`{"image":"x","mount":"y","network_name":"z"}`, `{"command":["a"],"listen":"inherit"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := plane.ParseExecutable(b)
		if err != nil {
			return
		}
		again, err2 := json.Marshal(x)
		if err2 != nil {
			t.Fatal(err2)
		}
		if len(x.Command) == 0 && x.Image == "" {
			return // absent
		}
		y, err := plane.ParseExecutable(again)
		if err != nil {
			t.Fatalf("%s was taken, %s isn't: %v", b, again, err)
		}
		z, _ := json.Marshal(y)
		if !reflect.DeepEqual(again, z) {
			t.Fatalf("%s became %s", again, z)
		}
	})
}
