package line

import (
	"cmp"
	"context"

	"plane"
	"plane/internal/drone/warden"
)

// of reports whether b is one of that runtime's. The warden holds the backends of
// all runtimes; those that name none are commands.
func of(b warden.Running, runtime string) bool {
	return cmp.Or(b.Runtime, plane.RuntimeProcess) == runtime
}

// Held lists a runtime's backends that run, or ended and aren't forgotten.
func (l *Line) Held(ctx context.Context, runtime string) ([]warden.Running, error) {
	var all []warden.Running
	err := l.Ask(ctx, func(c *warden.Client) error {
		found, err := c.Found(ctx)
		all = nil
		for _, b := range found {
			if of(b, runtime) {
				all = append(all, b)
			}
		}
		return err
	})
	return all, err
}

// Hold gives one of Held. runtime.ErrGone if it isn't among them.
func (l *Line) Hold(ctx context.Context, runtime string, id plane.BackendID) (Backend, error) {
	var b Backend
	err := l.Ask(ctx, func(c *warden.Client) error {
		running, err := c.Attach(ctx, id)
		if err == nil && !of(running, runtime) {
			err = warden.ErrGone
		}
		b = l.backend(c, running)
		return err
	})
	return b, err
}

// Begin has the warden start what o says. See warden.Client.Start.
func (l *Line) Begin(ctx context.Context, o warden.Order) (Backend, error) {
	var b Backend
	err := l.Ask(ctx, func(c *warden.Client) error {
		running, warnings, err := c.Start(ctx, o)
		for _, w := range warnings {
			l.log.Warn(w, "backend", o.Backend)
		}
		b = l.backend(c, running)
		return err
	})
	return b, err
}

func (l *Line) backend(c *warden.Client, r warden.Running) Backend {
	return Backend{Line: l, Running: r, base: c.Welcome().Base}
}
