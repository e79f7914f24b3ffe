package warden

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"plane/internal/drone/home"
)

// maxLog is how long a part's own log may be before it is begun anew at the
// next start.
const maxLog = 1 << 20

// Spawn starts a part ("warden", "reaper") in a session of its own, without a
// terminal, so that neither a closed window nor the end of its starter reaches
// it. The caller must wait for the command if it wants no zombie.
func Spawn(h home.Home, part string, argv []string) (*exec.Cmd, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("start %s: no command for it is configured", part)
	}
	if st, err := os.Stat(h.Log(part)); err == nil && st.Size() > maxLog {
		_ = os.Rename(h.Log(part), h.Log(part)+".old")
	}
	log, err := os.OpenFile(h.Log(part), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	defer log.Close()
	path := argv[0]
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat("/proc/self/exe"); err == nil {
			path = "/proc/self/exe" // the file was removed or is being replaced: this version goes on
		}
	}
	cmd := exec.Command(path, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", part, err)
	}
	return cmd, nil
}
