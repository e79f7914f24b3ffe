package docker

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"plane/internal/runtime/line"
)

// recent is how long before its end somebody may have asked for it.
const recent = time.Minute

// meddling says what others have done to a container that has ended, "" if the
// engine remembers nothing. A drone that reaches containers inside ends them
// without the engine, but for an image's own stop signal.
func (r *Runtime) meddling(ctx context.Context, c container.InspectResponse) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	seen := r.engine.Events(ctx, client.EventsListOptions{
		Since: c.State.StartedAt, Until: time.Now().Format(time.RFC3339Nano),
		Filters: client.Filters{}.Add("type", "container").Add("container", c.ID),
	})
	var own unix.Signal
	if c.Config != nil {
		own = line.Signal(c.Config.StopSignal)
	}
	killed, paused := "", false
	for {
		select {
		case e := <-seen.Messages:
			late := time.Since(time.Unix(0, e.TimeNano)) < recent
			switch e.Action {
			case events.ActionPause, events.ActionUnPause:
				paused = e.Action == events.ActionPause
			case events.ActionStop:
				return "Somebody stopped its container through the Docker engine."
			case events.ActionKill:
				if sig := line.Signal(e.Actor.Attributes["signal"]); late && ends(sig, c.State.ExitCode) && sig != own {
					killed = "Somebody sent its container " + unix.SignalName(sig) + " through the Docker engine."
				}
			}
		case <-seen.Err: // the last of them, also without one
			if killed == "" && paused {
				return "Somebody had paused its container through the Docker engine."
			}
			return killed
		}
	}
}

// ends reports whether a program that got a signal may have ended with that code
// for it.
func ends(sig unix.Signal, code int) bool {
	return sig == unix.SIGKILL || sig == unix.SIGTERM || sig == unix.SIGINT || sig == unix.SIGQUIT || code == 128+int(sig)
}
