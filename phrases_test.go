package plane_test

import (
	"testing"

	"plane"
)

func TestEveryReasonHasAPhrase(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range []plane.Reason{"", plane.Swept, plane.External, plane.KeyExpired, plane.Lost, plane.StartupTimeout, plane.InternalError} {
		p := r.Phrase()
		if p == string(r) || seen[p] {
			t.Errorf("%q: %q", r, p)
		}
		seen[p] = true
	}
	if got := plane.Reason("later").Phrase(); got != "later" { // of a newer controller
		t.Error(got)
	}
}

func TestHowProgramsEnd(t *testing.T) {
	code := 3
	for want, x := range map[string]plane.Exit{
		"with exit code 3":                           {Code: &code},
		"by SIGKILL":                                 {Code: &code, Signal: "SIGKILL"},
		"with an unknown exit code":                  {},
		"because it used more memory than its limit": {Signal: "SIGKILL", OOM: true},
		`because "no such file"`:                     {Message: "no such file"},
	} {
		if got := x.How(); got != want {
			t.Errorf("%+v: %q, want %q", x, got, want)
		}
	}
}
