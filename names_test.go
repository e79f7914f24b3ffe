package plane_test

import (
	"bytes"
	"crypto/rand"
	"regexp"
	"strings"
	"testing"

	"plane"
)

func TestRandomNames(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range []plane.Prefix{plane.NoPrefix, plane.PrefixDrone, plane.PrefixAction} {
		form := regexp.MustCompile(`^[a-z0-9]{14}$`)
		if p != plane.NoPrefix {
			form = regexp.MustCompile("^" + string(p) + `-[a-z0-9]{14}$`)
		}
		for range 200 {
			n := plane.RandomName(rand.Reader, p)
			if !form.MatchString(n) || seen[n] {
				t.Fatalf("%q doesn't match %s, or was there before", n, form)
			}
			seen[n] = true
		}
	}
}

func TestRandomNamesAreUniform(t *testing.T) {
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	counts := map[rune]int{}
	r := &repeating{all, 0}
	for range 18 { // 18 · 14 letters = the 252 bytes that count
		for _, c := range plane.RandomName(r, plane.NoPrefix) {
			counts[c]++
		}
	}
	if len(counts) != 36 {
		t.Fatalf("%d letters are used, want 36", len(counts))
	}
}

type repeating struct {
	b []byte
	n int
}

func (r *repeating) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.b[r.n%len(r.b)]
		r.n++
	}
	return len(b), nil
}

func TestNoRandomnessIsNoName(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a name without randomness")
		}
	}()
	plane.RandomName(bytes.NewReader(nil), plane.NoPrefix)
}

func TestBackendIDs(t *testing.T) {
	checks(t, func(s string) error { return plane.BackendID(s).Check() },
		[]string{"a", "0", "a-b", strings.Repeat("a", 45)},
		[]string{"", "A", "a b", "a/b", "a.b", "ä", "a\x00", strings.Repeat("a", 46)})
}

func TestNodeNames(t *testing.T) {
	checks(t, func(s string) error { return plane.CheckNode(plane.NodeName(s), plane.PrefixDrone) },
		[]string{"dr-1", "dr-" + strings.Repeat("a", 42)},
		[]string{"", "px-1", "dr-A", "dr_1"})
}

func TestClusterNames(t *testing.T) {
	checks(t, func(s string) error { return plane.ClusterName(s).Check() },
		[]string{"localhost:9090", "plane.example.com", "127.0.0.1:80", "10.0.0.1", "a", "a_b.c", "Example.com:0"},
		[]string{"", ":80", "a:", "a:b", "a:65536", "a:-1", "a..b", "-a.b", "a-.b", "a b", "a/b", "http://a", "ä.de", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"})
}

func TestSchemeOfACluster(t *testing.T) {
	for c, want := range map[plane.ClusterName]string{
		"example.com": "https", "example.com:443": "https", "localhost:9090": "http", "example.com:80": "http",
	} {
		if got := c.Scheme(); got != want {
			t.Errorf("%s: %s, want %s", c, got, want)
		}
	}
}

func TestSubdomains(t *testing.T) {
	checks(t, plane.CheckSubdomain,
		[]string{"", "a", "A-b", "ü", "1", strings.Repeat("a", 63)},
		[]string{"-a", "a-", "a--b", "a.b", "a b", "a_b", "a\x00", strings.Repeat("a", 64), strings.Repeat("ü", 32)})
}

// checks fails unless check takes every good one and refuses every bad one.
func checks(t *testing.T, check func(string) error, good, bad []string) {
	t.Helper()
	for _, s := range good {
		if err := check(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range bad {
		if check(s) == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// FuzzNames: whatever is taken is safe where names go: URLs, paths, logs.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "dr-1", "localhost:9090", "a--b", "::1", "\xff", "a\n"} {
		f.Add(s)
	}
	unsafe := func(s string) bool { return strings.ContainsAny(s, "/\\\x00\r\n \"'<>?#@%") }
	f.Fuzz(func(t *testing.T, s string) {
		for what, err := range map[string]error{
			"backend": plane.BackendID(s).Check(), "node": plane.CheckNode(plane.NodeName(s), plane.NoPrefix),
			"cluster": plane.ClusterName(s).Check(), "subdomain": plane.CheckSubdomain(s),
		} {
			if err == nil && unsafe(s) {
				t.Errorf("%s %q is taken", what, s)
			}
		}
		if label, ok := (plane.Key{Name: s}).HostLabel(); ok && (label != s || plane.ClusterName(label).Check() != nil || strings.Contains(label, "--")) {
			t.Errorf("key %q becomes the host label %q", s, label)
		}
	})
}
