package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/reaper"
	"plane/internal/drone/warden"
)

// watcherCommand is how this binary becomes the reaper or warden of h.
func watcherCommand(part string, h home.Home, clock leaseclock.Kind) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's file, to start the %s: %w", part, err)
	}
	return []string{self, part, "--data-dir", h.Dir, "--clock", clock.String()}, nil
}

// newWatcherCommands are reaper and warden. People don't start them: an agent does.
func newWatcherCommands() []*cobra.Command {
	return []*cobra.Command{
		watcher("reaper", "Enforce deadlines whatever happens to the other parts", "warden",
			func(cmd *cobra.Command, h home.Home, other []string, clock leaseclock.Kind, log *slog.Logger) error {
				return reaper.Main(cmd.Context(), h, reaper.Options{Warden: other, Clock: clock, Log: log})
			}),
		watcher("warden", "Start backends and keep their output and exit status", "reaper",
			func(cmd *cobra.Command, h home.Home, other []string, clock leaseclock.Kind, log *slog.Logger) error {
				return warden.Main(cmd.Context(), h, warden.Options{Reaper: other, Clock: clock, Log: log})
			}),
	}
}

func watcher(part, short, other string, run func(*cobra.Command, home.Home, []string, leaseclock.Kind, *slog.Logger) error) *cobra.Command {
	var dir, clock string
	cmd := &cobra.Command{
		Use:    part,
		Short:  short,
		Hidden: true,
		Args:   args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The end of a terminal or of a session is not theirs.
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
			kind, err := leaseclock.ParseKind(clock)
			if err != nil {
				return err
			}
			h, err := home.New(dir)
			if err != nil {
				return err
			}
			argv, err := watcherCommand(other, h, kind)
			if err != nil {
				return err
			}
			return run(cmd, h, argv, kind, jsonLog(os.Stderr, slog.LevelInfo).With("part", part))
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "data directory of the drone")
	cmd.Flags().StringVar(&clock, "clock", leaseclock.KindLease.String(), "clock of a new table of deadlines: lease or awake")
	_ = cmd.MarkFlagRequired("data-dir")
	return cmd
}
