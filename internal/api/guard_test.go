package api

import "testing"

func TestTrap46_ForeignHostNamesAreRefused(t *testing.T) {
	allowed := []string{"plane.example.org", "127.0.0.1.example:9000"}
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST:8080": true, "localhost.": true, "localhost.:80": true,
		"doc.localhost:8080": true, "127.0.0.1:8080": true, "127.9.9.9": true, "[::1]:8080": true, "[::1]": true,
		"[::ffff:127.0.0.1]:80": true, "plane.example.org": true, "Plane.Example.org:8080": true, "127.0.0.1.example:9000": true,

		"": false, "evil.example": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false,
		"evil-localhost": false, "10.0.0.1": false, "0.0.0.0:8080": false, "[::]:8080": false, "2130706433": false,
		"127.1": false, "0x7f.0.0.1": false, "127.0.0.1.example:9001": false, "[fe80::1%lo]:80": false, "plane.example.org.evil": false,
	} {
		if got := hostAllowed(host, allowed); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
}

func FuzzHosts(f *testing.F) {
	for _, s := range []string{"a:1", "[::1]:1", "[", "]", ":", "[[::1]]", "localhost:localhost", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, host string) {
		_ = hostAllowed(host, nil)
		_ = peerAllowed(host)
		_ = isJSON(host)
		_ = saneID(host)
	})
}

func TestOnlyJSONIsJSON(t *testing.T) {
	for kind, want := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, "Application/JSON": true, "application/merge-patch+json": true,
		"": false, "text/plain": false, "text/json": false, "application/x-www-form-urlencoded": false, "application/jsonp": false,
		"application/+json": false, "text/plain; application/json": false, "multipart/form-data": false,
	} {
		if got := isJSON(kind); got != want {
			t.Errorf("%q: %t", kind, got)
		}
	}
}

func TestOnlyThisMachineIsAPeer(t *testing.T) {
	for peer, want := range map[string]bool{
		"127.0.0.1:5": true, "[::1]:5": true, "[::ffff:127.0.0.1]:5": true, "@": true, "": true,
		"10.0.0.1:5": false, "[2001:db8::1]:5": false,
	} {
		if got := peerAllowed(peer); got != want {
			t.Errorf("%q: %t", peer, got)
		}
	}
}
