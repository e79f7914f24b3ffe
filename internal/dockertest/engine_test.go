package dockertest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"

	"plane/internal/dockertest"
)

func TestEngineIsKilledFrozenAndStartedAgainAndLeavesNothing(t *testing.T) {
	var host string
	t.Run("engine", func(t *testing.T) {
		began := time.Now()
		e := dockertest.Start(t, dockertest.Options{})
		t.Logf("it answers after %v", time.Since(began))
		host = strings.TrimPrefix(e.Host, "unix://")
		e.Load(t, empty.Image, "nothing:latest")
		e.Freeze(t)
		if e.Answers() {
			t.Error("it answers while it is stopped")
		}
		e.Thaw(t)
		if !e.Answers() {
			t.Error("it doesn't go on")
		}
		e.Kill9(t)
		if e.Answers() {
			t.Error("it answers when it is dead")
		}
		e.Restart(t)
	})
	if t.Failed() || host == "" {
		return
	}
	dir := filepath.Dir(host)
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is left", dir)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), dir) {
		t.Error("mounts are left")
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, l := range lines {
		if b, _ := os.ReadFile(l); strings.Contains(string(b), dir) {
			t.Errorf("%s is left: %q", l, b)
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(dir))
	if len(groups) > 0 {
		t.Errorf("cgroups are left: %v", groups)
	}
}
