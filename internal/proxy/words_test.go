package proxy

import (
	"testing"

	"plane"
)

func TestAPageSaysHowFarAPullHasCome(t *testing.T) {
	for _, x := range []struct {
		pull plane.Pull
		want string
	}{
		{plane.Pull{}, "Preparing."},
		{plane.Pull{Text: "pulling"}, "Pulling."},
		{plane.Pull{Text: "pulling", Done: 2_500_000}, "Pulling: 2.5 MB so far."},
		{plane.Pull{Text: "unpacking", Done: 1_000_000, Total: 4_000_000}, "Unpacking: 25 %, 1.0 of 4.0 MB."},
		{plane.Pull{Text: "pulling", Done: 5, Total: 4}, "Pulling: 0.0 MB so far."},
	} {
		b := &backend{route: &plane.Route{Status: plane.Loading, Pull: &x.pull}}
		if got := progressOf(b).Message; got != x.want {
			t.Errorf("%+v says %q, want %q", x.pull, got, x.want)
		}
	}
	b := &backend{route: &plane.Route{Status: plane.Starting, Pull: &plane.Pull{Text: "pulling"}}}
	if got := progressOf(b).Message; got != wordsOf(plane.Starting) {
		t.Errorf("once it starts the page still says %q", got)
	}
}
