package dockertest

import (
	"os"
	"os/exec"
	"runtime"
)

// Missing says what an engine lacks here, "" if nothing.
func Missing() string {
	if runtime.GOOS != "linux" {
		return "Linux"
	}
	if os.Geteuid() != 0 {
		return "root"
	}
	for _, tool := range []string{"dockerd", "containerd", "runc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool
		}
	}
	return ""
}

// Need skips a test that no engine can be started for, or fails it where CI is set.
func Need(t TB) {
	t.Helper()
	what := Missing()
	if what == "" {
		return
	}
	why := "no " + what + "; a Docker engine for tests needs Linux, root, and Debian's docker.io"
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
