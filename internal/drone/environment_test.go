package drone

import (
	"slices"
	"strings"
	"testing"

	"plane"
	"plane/internal/drone/journal"
)

// What speaks of another backend, or of the drone, must not reach a program.
func TestEnvironmentIsOfThisBackendAlone(t *testing.T) {
	base := []string{"PATH=/bin", "SESSION_BACKEND_STATIC_TOKEN=s.outer", "LISTEN_FDS=1", "LISTEN_PID=1", "NOTIFY_SOCKET=/run/x"}
	x := plane.Executable{Command: []string{"x"}, Env: map[string]string{"MODE": "a", "SESSION_BACKEND_DATA_DIR": "/elsewhere"}}
	env := environment(base, x, "b1", journal.Backend{Key: plane.Key{Name: "doc"}, Generation: 7}, portSet{8000, map[string]int{"metrics": 8001}}, "/data/b1", "")
	for _, e := range env {
		for _, bad := range []string{"outer", "LISTEN_", "NOTIFY_", "elsewhere"} {
			if strings.Contains(e, bad) {
				t.Errorf("%s came through", e)
			}
		}
	}
	for _, want := range []string{"PATH=/bin", "MODE=a", "PORT=8000", "PORT_METRICS=8001", "SESSION_BACKEND_DATA_DIR=/data/b1", "HOST=127.0.0.1", "SESSION_BACKEND_KEY=doc", "SESSION_BACKEND_FENCING_TOKEN=7"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing in %v", want, env)
		}
	}
}
