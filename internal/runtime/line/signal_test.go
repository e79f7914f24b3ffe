package line_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"plane/internal/runtime/line"
)

func TestSignalsAreReadAsImagesNameThem(t *testing.T) {
	for text, want := range map[string]unix.Signal{
		"SIGQUIT": unix.SIGQUIT, "quit": unix.SIGQUIT, "3": unix.SIGQUIT, "SIGRTMIN+3": 37, "RTMAX-2": 62,
		"": 0, "SIGNONE": 0, "SIGRTMIN+x": 0, "SIGRTMIN+99": 0,
	} {
		if got := line.Signal(text); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}
