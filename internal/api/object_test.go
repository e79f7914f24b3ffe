package api

import (
	"encoding/json"
	"errors"
	"maps"
	"testing"

	"plane"
)

func TestMembersAreThoseOfTheStandardDecoder(t *testing.T) {
	for _, body := range objects {
		compareMembers(t, []byte(body))
	}
}

var objects = []string{
	`{}`, ` { } `, `{"a":1}`, "{\n\t\"a\" : [1, {\"b\":\"]}\"}] , \"c\":\"\\\"\\\\\"}", `{"a":{"a":{"a":[]}},"b":null,"c":-1.5e3,"d":true}`,
	`{"\u00e9":"é","":{"":""}}`, `{"a":"\\","b":"\\\""}`,
}

func compareMembers(t *testing.T, body []byte) {
	v, bad := parse(body)
	var want map[string]json.RawMessage
	if bad != nil || v.raw[0] != '{' || json.Unmarshal(body, &want) != nil {
		return
	}
	got := map[string]json.RawMessage{}
	for name, raw := range members(v.raw) {
		got[name] = raw
	}
	if !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
		t.Errorf("%s:\n got %s\nwant %s", body, got, want)
	}
}

func FuzzBodies(f *testing.F) {
	for _, s := range append(objects, `{"key":{"name":"\ud800"}}`, `{"spawn_config":{"executable":{"command":["a"]}}}`, `[`, `"`, `{"`) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		compareMembers(t, body)
		v, bad := parse(body)
		if bad != nil {
			if status(bad) != 400 {
				t.Errorf("status %d", status(bad))
			}
			return
		}
		_, err := decodeConnect(v, false)
		var e *plane.Error
		if err != nil && (!errors.As(err, &e) || status(e) != 422 || e.Field == "" && e.Message == "") {
			t.Errorf("%s: %v", body, err)
		}
	})
}

func TestTextThatWouldBeMendedIsRefused(t *testing.T) {
	for _, body := range []string{
		"{\"key\":{\"name\":\"\xff\"}}", `{"key":{"name":"\ud800"}}`, `{"key":{"name":"\udc00\ud800"}}`,
		`{"key":{"name":"\ud800\u0041"}}`, `{"key":{"name":"\ud800x"}}`, `{"a"}`, `{"a":01}`, `{} x`, ``,
	} {
		if _, err := parse([]byte(body)); err == nil {
			t.Errorf("%q is taken", body)
		}
	}
	for _, body := range []string{`{"key":{"name":"\ud83d\ude00"}}`, `{"key":{"name":"\\ud800"}}`, `{"key":{"name":"\u0041\\"}}`} {
		if _, err := parse([]byte(body)); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
}
