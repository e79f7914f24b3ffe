// Package dronetest gives tests the parts that stand beside an agent: the test's
// own program serves as reaper and warden.
package dronetest

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"plane/internal/drone/home"
	"plane/internal/drone/reaper"
	"plane/internal/drone/warden"
)

// Parts belongs at the beginning of TestMain: if this program was started as
// reaper or warden it serves as that, and doesn't return. leave is how long they
// stay with nothing to do.
func Parts(leave time.Duration) {
	if len(os.Args) == 3 && (os.Args[1] == "reaper" || os.Args[1] == "warden") {
		part(os.Args[1], os.Args[2], leave)
	}
}

func part(name, dir string, leave time.Duration) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE) // as under nohup
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	h, err := home.New(dir)
	if err == nil {
		switch name {
		case "reaper":
			err = reaper.Main(context.Background(), h, reaper.Options{Warden: []string{os.Args[0], "warden", dir}, Log: log})
		case "warden":
			err = warden.Main(context.Background(), h, warden.Options{Reaper: []string{os.Args[0], "reaper", dir}, Leave: leave, Log: log})
		}
	}
	if err != nil {
		log.Error("ended", "error", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Dial starts the parts of h unless they run, and connects to the warden. before
// are words that the reaper is started with, such as those of env(1).
func Dial(ctx context.Context, h home.Home, before ...string) (*warden.Client, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := reaper.Ensure(ctx, h, append(before, exe, "reaper", h.Dir)); err != nil {
		return nil, err
	}
	return warden.Connect(ctx, h)
}
