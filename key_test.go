package plane_test

import (
	"strings"
	"testing"

	"plane"
)

func TestKeys(t *testing.T) {
	long := strings.Repeat("x", plane.MaxKeyPart+1)
	for name, c := range map[string]struct {
		key   plane.Key
		field string // that is wrong; "" = none
	}{
		"empty name is a name": {plane.Key{}, ""},
		"any text":             {plane.Key{Name: "../.. ü 🙂\n", Namespace: "a/b", Tag: "--"}, ""},
		"longest":              {plane.Key{Name: long[1:]}, ""},
		"too long":             {plane.Key{Name: long}, "key.name"},
		"long namespace":       {plane.Key{Namespace: long}, "key.namespace"},
		"long tag":             {plane.Key{Tag: long}, "key.tag"},
		"NUL":                  {plane.Key{Tag: "a\x00"}, "key.tag"},
		"no UTF-8":             {plane.Key{Namespace: "\xff"}, "key.namespace"},
	} {
		err := c.key.Check()
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.field != "" && (err == nil || err.Field != c.field || err.Status != 422):
			t.Errorf("%s: %+v, want 422 for %s", name, err, c.field)
		}
	}
}

func TestKeyHash(t *testing.T) {
	k := plane.Key{Namespace: "a", Name: "b", Tag: "t"}
	if len(k.Hash()) != 32 || k.Hash() != (plane.Key{Namespace: "a", Name: "b"}).Hash() {
		t.Errorf("%q: want 32 digits that don't depend on the tag", k.Hash())
	}
	seen := map[string]plane.Key{}
	for _, k := range []plane.Key{{}, {Name: "a"}, {Namespace: "a"}, {Namespace: "a", Name: "b"}, {Name: "ab"}, {Namespace: "ab"}, {Name: "a/b"}} {
		if other, ok := seen[k.Hash()]; ok {
			t.Errorf("%+v and %+v have one hash", k, other)
		}
		seen[k.Hash()] = k
	}
}

func TestHostLabels(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "doc-42": true, "0": true, strings.Repeat("a", 63): true,
		"": false, "A": false, "a_b": false, "a.b": false, "-a": false, "a-": false, "a--b": false,
		"xn--a": false, "ü": false, "../..": false, strings.Repeat("a", 64): false,
	} {
		if _, got := (plane.Key{Name: name}).HostLabel(); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func TestGenerationsFitJavaScript(t *testing.T) {
	g := plane.NewGeneration(plane.MaxStoreEpoch, 1<<32-1)
	if g >= 1<<53 || g.Epoch() != plane.MaxStoreEpoch {
		t.Errorf("the last generation is %d of epoch %d", g, g.Epoch())
	}
	if plane.NewGeneration(2, 0) <= plane.NewGeneration(1, 1<<32-1) {
		t.Error("a later store epoch's first generation isn't higher than the earlier one's last")
	}
}

func TestKeysAreShownAsPeopleWriteThem(t *testing.T) {
	for want, k := range map[string]plane.Key{"a": {Name: "a"}, "team/a": {Name: "a", Namespace: "team", Tag: "x"}} {
		if k.String() != want {
			t.Errorf("%q, want %q", k.String(), want)
		}
	}
}

func TestAGenerationForPeopleIsItsCounter(t *testing.T) {
	for want, g := range map[string]plane.Generation{"#7": plane.NewGeneration(1, 7), "#7 of epoch 3": plane.NewGeneration(3, 7)} {
		if got := g.Short(); got != want {
			t.Errorf("%d: %q, want %q", g, got, want)
		}
	}
}
