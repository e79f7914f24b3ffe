package plane_test

import (
	"strings"
	"testing"

	"plane"
)

func TestNearestFindsWhatWasMeant(t *testing.T) {
	words := []string{"command", "image", "max_idle_seconds", "lifetime_limit_seconds", "dir"}
	for word, want := range map[string]string{
		"comand": "command", "Command": "command", "commands": "command", "max_idle_second": "max_idle_seconds", "dirs": "dir",
		"zzzzzz": "", "": "", strings.Repeat("command", 20): "",
	} {
		if got := plane.Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
	if got := plane.Nearest("a", nil); got != "" {
		t.Errorf("nearest of nothing: %q", got)
	}
}
