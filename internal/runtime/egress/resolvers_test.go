package egress

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServersOfTheMachineItselfAreLeftOut(t *testing.T) {
	defer func(was []string) { resolvConfs = was }(resolvConfs)
	usual, behind := filepath.Join(t.TempDir(), "resolv.conf"), filepath.Join(t.TempDir(), "resolv.conf")
	resolvConfs = []string{usual, behind}
	for _, c := range []struct{ usual, behind, want string }{
		{"# x\nnameserver 192.0.2.1\nnameserver ::1\nnameserver 2001:db8::1\nsearch a b\nnameserver 192.0.2.2\n", "nameserver 192.0.2.9\n", "192.0.2.1 192.0.2.2"},
		{"nameserver 127.0.0.53\noptions edns0\n", "nameserver 192.0.2.9\n", "192.0.2.9"},
		{"nameserver 127.0.0.53\n", "", ""},
		{"nameserver\nnameserver x\nnameserver 0.0.0.0", "", ""},
	} {
		for path, text := range map[string]string{usual: c.usual, behind: c.behind} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, a := range machinesResolvers() {
			got = append(got, a.String())
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.usual, c.behind, got, c.want)
		}
	}
}
