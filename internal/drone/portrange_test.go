package drone

import (
	"strings"
	"testing"
)

func TestPortRangesAreReadAsTheyAreWritten(t *testing.T) {
	if r, err := ParsePorts(DefaultPorts.String()); err != nil || r != DefaultPorts {
		t.Errorf("%v, %v", r, err)
	}
	for _, text := range []string{"", "1", "-", "a-b", "5-4", "0-9", "1-65536", "1-2-3", "30000"} {
		if r, err := ParsePorts(text); err == nil || !strings.HasPrefix(err.Error(), `"`) {
			t.Errorf("%q is read as %v, %v", text, r, err)
		}
	}
}
