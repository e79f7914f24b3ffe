package plane_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"plane"
)

func TestAppNames(t *testing.T) {
	checks(t, func(s string) error {
		if err := plane.CheckAppName(s); err != nil {
			return err
		}
		return nil
	}, []string{"a", "a-1", "a" + strings.Repeat("b", 30)},
		[]string{"", "A", "1a", "-a", "a--b", "a_b", "a" + strings.Repeat("b", 31)})
}

func TestTemplates(t *testing.T) {
	const cmd = `"command":["./board"]`
	for template, field := range map[string]string{ // field that is wrong; "" = none
		`{` + cmd + `}`:   "",
		`{"image":"a:1"}`: "",
		`{` + cmd + `,"dir":"/a","env":{"A":"b"},"data":"keep","lease":"fast","access":"token","host":"localhost"}`: "",
		`{` + cmd + `,"ports":{"metrics":9100},"idle":["holds"],"egress":"none"}`:                                   "",
		`{}`: "command",
		`{` + cmd + `,"image":"a","listen":"inherit"}`:             "listen",
		`{` + cmd + `,"dir":"a"}`:                                  "dir",
		`{` + cmd + `,"comand":1}`:                                 "comand",
		`{"command":"./board"}`:                                    "command",
		`{` + cmd + `,"env":{"A=":"b"}}`:                           "env",
		`{` + cmd + `,"max_idle_seconds":-1}`:                      "max_idle_seconds",
		`{` + cmd + `,"max_idle_seconds":"5m"}`:                    "max_idle_seconds",
		`{` + cmd + `,"resource_limits":{"memory_limit_bytes":1}}`: "resource_limits.memory_limit_bytes",
		`{` + cmd + `,"data":"kept"}`:                              "data",
		`{` + cmd + `,"access":"forward-auth"}`:                    "access",
		`{` + cmd + `,"host":"other"}`:                             "host",
		`{` + cmd + `,"ports":{"A":1}}`:                            "ports",
		`{` + cmd + `,"ports":{"a":0}}`:                            "ports.a",
		`{` + cmd + `,"idle":["sleep"]}`:                           "idle",
		`{` + cmd + `,"idle":[]}`:                                  "idle",
		`{` + cmd + `,"egress":"list"}`:                            "egress",
		`{` + cmd + `,"lease":"slow"}`:                             "lease",
	} {
		got, err := plane.ParseTemplate([]byte(template))
		switch {
		case field == "" && err != nil:
			t.Errorf("%s: %v", template, err)
		case field == "":
			raw, e := json.Marshal(got)
			again, err := plane.ParseTemplate(raw)
			if e != nil || err != nil || !reflect.DeepEqual(got, again) {
				t.Errorf("%s reads differently after writing: %s (%v, %v)", template, raw, e, err)
			}
		case err == nil || err.Field != field || strings.Contains(err.Message, "spawn_config"):
			t.Errorf("%s: %+v, want an error of %s in an app's words", template, err, field)
		}
	}
}

func TestWhatCountsAsUse(t *testing.T) {
	if !plane.UseHolds.Counts(nil) || plane.UseHolds.Counts([]plane.Use{plane.UseRequests}) || !plane.UseHolds.Counts([]plane.Use{plane.UseHolds}) {
		t.Error("an absent list must count everything, a list only what it names")
	}
}
