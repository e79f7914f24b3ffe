package token

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"plane"
)

var epoch = time.Unix(1_800_000_000, 0)

func newKey(t testing.TB, number uint32, active time.Time) Key {
	t.Helper()
	k, err := NewKey(number, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k.Active = active
	return k
}

func seal(t testing.TB, r *Keyring, c plane.Claims) string {
	t.Helper()
	tok, err := r.Seal(c, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func claims() plane.Claims {
	user := "alice"
	return plane.Claims{
		Backend: "7f2k9x0m3qd1zs", Cluster: "localhost:9090", User: &user,
		Auth: json.RawMessage(`{"role":"editor"}`), Port: "metrics",
		Revocation: 7, Issued: epoch.Unix(), Expires: epoch.Unix() + 60,
	}
}

func TestTokenOpensToWhatWasSealed(t *testing.T) {
	r := NewKeyring([]Key{newKey(t, 3, epoch)}, 0, []byte("static"))
	empty := ""
	for _, c := range []plane.Claims{
		claims(),
		{Backend: "b", Cluster: "c", Auth: json.RawMessage("{}")},
		{Backend: "b", Cluster: "c", User: &empty, Auth: json.RawMessage("{}"), Issued: -1, Revocation: 1 << 60},
	} {
		tok := seal(t, r, c)
		got, err := r.Open(tok)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("Open(Seal(%+v)) = %+v, %v", c, got, err)
		}
		if strings.Trim(tok, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("token %q isn't URL-safe", tok)
		}
		if !Looks(tok) || IsStatic(tok) {
			t.Errorf("token %q doesn't look like one", tok)
		}
	}
	usual := seal(t, r, plane.Claims{Backend: "7f2k9x0m3qd1zs", Cluster: "localhost:9090", Issued: epoch.Unix()})
	if len(usual) > 120 {
		t.Errorf("a usual token has %d characters, want about 100", len(usual))
	}
}

func TestTokenHasOneSpelling(t *testing.T) {
	r := NewKeyring([]Key{newKey(t, 1, epoch)}, 0, nil)
	for pad := range 4 { // the three lengths modulo 3
		c := plane.Claims{Backend: "b", Cluster: plane.ClusterName(strings.Repeat("c", 1+pad))}
		tok := seal(t, r, c)
		for i := range len(tok) {
			for _, x := range []byte("A_b9") {
				if other := tok[:i] + string(x) + tok[i+1:]; other != tok {
					if _, err := r.Open(other); err == nil {
						t.Fatalf("changed at %d and still opened", i)
					}
				}
			}
		}
		for _, other := range []string{
			tok + "=", tok + "==", tok + "\n", tok[:5] + "\r\n" + tok[5:], " " + tok, tok + "A", tok[:len(tok)-1], "", "s.", tok + "/",
			strings.NewReplacer("-", "+", "_", "/").Replace(tok) + "+",
		} {
			if _, err := r.Open(other); err == nil {
				t.Errorf("%q opened, the spelling is %q", other, tok)
			}
		}
	}
}

func TestKeysRotate(t *testing.T) {
	old, now, next := newKey(t, 1, epoch.Add(-time.Hour)), newKey(t, 2, epoch), newKey(t, 3, epoch.Add(time.Hour))
	r := NewKeyring([]Key{next, old, now}, 0, nil)
	number := func(tok string) uint32 {
		b, _ := base64.RawURLEncoding.DecodeString(tok)
		return binary.BigEndian.Uint32(b[1:5])
	}
	tok := seal(t, r, claims())
	if number(tok) != 2 || r.Newest() != 3 {
		t.Errorf("sealed with key %d, newest %d; want 2, 3", number(tok), r.Newest())
	}
	if _, err := NewKeyring([]Key{old, next}, 0, nil).Open(tok); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("key not here: %v", err)
	}
	if _, err := NewKeyring([]Key{old, now, next}, 3, nil).Open(tok); !errors.Is(err, ErrTooOld) {
		t.Errorf("key refused: %v", err)
	}
	if _, err := NewKeyring([]Key{newKey(t, 2, epoch)}, 0, nil).Open(tok); !errors.Is(err, ErrForged) {
		t.Errorf("another key of that number: %v", err)
	}
	if got := seal(t, NewKeyring([]Key{next}, 0, nil), claims()); number(got) != 3 {
		t.Errorf("with no active key: sealed with %d", number(got))
	}
	var none *Keyring
	if _, err := none.Open(tok); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("nil keyring: %v", err)
	}
	if _, err := none.Seal(claims(), epoch); !errors.Is(err, ErrNoKeys) {
		t.Errorf("nil keyring seals: %v", err)
	}
}

func TestSecretsDifferAndHold(t *testing.T) {
	k := newKey(t, 1, epoch)
	r := NewKeyring([]Key{k}, 0, []byte("static"))
	a, b := seal(t, r, claims()), seal(t, r, claims())
	if len(r.Secret(a)) != 43 || r.Secret(a) == r.Secret(b) || r.Secret(a) != NewKeyring([]Key{k}, 0, nil).Secret(a) {
		t.Error("a token's secret must be 43 characters, its own, and the same everywhere")
	}
	if r.Secret("s.x") != "" || NewKeyring(nil, 0, nil).Secret(a) != "" {
		t.Error("a secret without a key")
	}
}

func TestStaticTokenIsMadeAgain(t *testing.T) {
	r := NewKeyring(nil, 0, []byte("static"))
	tok := r.Static("b1")
	if len(tok) != 45 || !IsStatic(tok) || tok != NewKeyring([]Key{newKey(t, 9, epoch)}, 5, []byte("static")).Static("b1") || tok == r.Static("b2") {
		t.Errorf("static token %q", tok)
	}
	if len(StaticHash(tok)) != 64 || StaticHash(tok) == StaticHash(r.Static("b2")) {
		t.Error("hash of a static token")
	}
	if (*Keyring)(nil).Static("b1") != "" {
		t.Error("static token without a key")
	}
}

func TestClaimsAboveTheLimitAreRefused(t *testing.T) {
	r := NewKeyring([]Key{newKey(t, 1, epoch)}, 0, nil)
	c := claims()
	c.Auth = json.RawMessage(`{"x":"` + strings.Repeat("y", plane.MaxClaims-len(*c.User)-8) + `"}`)
	tok := seal(t, r, c)
	if _, err := r.Open(tok); err != nil || len(tok) > MaxLength {
		t.Errorf("largest token of %d characters: %v", len(tok), err)
	}
	c.Auth = append(c.Auth[:len(c.Auth)-1], ' ', '}')
	if _, err := r.Seal(c, epoch); !plane.IsKind(err, plane.BadRequest) || !strings.Contains(err.Error(), "4096") {
		t.Errorf("beyond the limit: %v", err)
	}
}

func TestFieldsThatMustBeKnownAreRefused(t *testing.T) {
	b := appendFields(nil, claims())
	if _, ok := readFields(appendText(b, 60, "later")); !ok {
		t.Error("a field that may be skipped wasn't")
	}
	if _, ok := readFields(appendText(b, 60|mustKnow, "only on mondays")); ok {
		t.Error("a limit that isn't understood was ignored")
	}
}

func TestKeysAreNeverPrinted(t *testing.T) {
	k := Key{Number: 1, Secret: bytes.Repeat([]byte{'Q'}, KeySize)}
	out := fmt.Sprintf("%v %+v %#v %s", k, k, k, NewKeyring([]Key{k}, 0, nil))
	if strings.Contains(out, "QQ") || strings.Contains(out, "81") || strings.Contains(out, "0x51") {
		t.Errorf("printed: %s", out)
	}
	if got := Redact("s.abc"); !strings.HasPrefix(got, "tok:") || len(got) != 12 {
		t.Errorf("Redact = %q", got)
	}
}

func TestCanonicalAuth(t *testing.T) {
	for in, want := range map[string]string{
		``:      `{}`,
		` { } `: `{}`,
		`{"b":1,"a":[1, 2.0 ,{"z":null,"y":true}]}`: `{"a":[1,2.0,{"y":true,"z":null}],"b":1}`,
		`{"a":"<&>\u00e9\u2028\/"}`:                 "{\"a\":\"<&>é\u2028/\"}",
		`{"a":"\u0001\t\n\"\\\u0008\f\r\u007f"}`:    "{\"a\":\"\\u0001\\t\\n\\\"\\\\\\b\\f\\r\x7f\"}",
		`{"é":1,"z":2,"A":3}`:                       `{"A":3,"z":2,"é":1}`,
		`{"a":1,"a":2}`:                             `{"a":2}`,
		`{"n":[1.0,1e2,1E+16,1e15,0.00001,0.000001,-0,-0.0,1.5e300,18446744073709551615,18446744073709551616]}`: `{"n":[1.0,100.0,1e16,1000000000000000.0,0.00001,1e-6,-0.0,-0.0,1.5e300,18446744073709551615,1.8446744073709552e19]}`,
	} {
		got, err := CanonicalAuth(json.RawMessage(in))
		if err != nil || string(got) != want {
			t.Errorf("CanonicalAuth(%s) = %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{`null`, `[]`, `"x"`, `1`, `{`, `{}]`, `{} {}`, `{"a":1e999}`, `{"a":"` + strings.Repeat("x", plane.MaxClaims) + `"}`} {
		if _, err := CanonicalAuth(json.RawMessage(in)); !plane.IsKind(err, plane.BadRequest) {
			t.Errorf("CanonicalAuth(%.40s) = %v, want a refusal", in, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	r := NewKeyring([]Key{{Number: 1, Secret: bytes.Repeat([]byte{1}, KeySize)}}, 0, []byte("static"))
	tok, _ := r.Seal(claims(), epoch)
	f.Add(tok)
	f.Add("s.AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := r.Open(s); err == nil {
			b, err := base64.RawURLEncoding.DecodeString(s)
			if err != nil || base64.RawURLEncoding.EncodeToString(b) != s {
				t.Fatalf("%q opened and isn't the one spelling", s)
			}
		}
		_, _, _ = r.Secret(s), Looks(s), Redact(s)
	})
}

func FuzzFields(f *testing.F) {
	f.Add(appendFields(nil, claims()))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := readFields(b)
		if !ok {
			return
		}
		again, ok := readFields(appendFields(nil, c))
		if ok && !reflect.DeepEqual(c, again) && string(c.Auth) != "" {
			t.Fatalf("%+v became %+v", c, again)
		}
	})
}

func FuzzCanonicalAuth(f *testing.F) {
	f.Add([]byte(`{"a":[1.0,"x",null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := CanonicalAuth(b)
		if err != nil {
			return
		}
		twice, err := CanonicalAuth(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	r := NewKeyring([]Key{newKey(b, 1, epoch)}, 0, nil)
	c := claims()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Seal(c, epoch)
	}
}

func BenchmarkOpen(b *testing.B) {
	r := NewKeyring([]Key{newKey(b, 1, epoch)}, 0, nil)
	tok := seal(b, r, claims())
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Open(tok)
	}
}

func BenchmarkSecret(b *testing.B) {
	r := NewKeyring([]Key{newKey(b, 1, epoch)}, 0, nil)
	tok := seal(b, r, claims())
	b.ReportAllocs()
	for b.Loop() {
		_ = r.Secret(tok)
	}
}
