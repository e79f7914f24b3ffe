package line

import (
	"context"

	"plane"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
)

// Backend is what every runtime's process does the same way: asking the warden.
// Running or ended; see runtime.Process.
type Backend struct {
	Line    *Line
	Running warden.Running

	base string // see means.At
}

// Look gives the means to look at its processes from here, and who they are.
func (b *Backend) Look() (*means.Means, means.Identity) {
	r := b.Running
	return means.At(b.Line.home.Hash(), b.base, b.Line.log),
		means.Identity{Backend: r.Backend, Pid: r.Pid, Start: r.Start, Group: r.Group}
}

// Pid is that of its first process.
func (b *Backend) Pid() int { return b.Running.Pid }

// Stop sends SIGTERM or makes it absent. See runtime.Process.
func (b *Backend) Stop(ctx context.Context, kind plane.StopKind) error {
	return b.Line.Ask(ctx, func(c *warden.Client) error { return c.Stop(ctx, b.Running.Backend, kind) })
}

// Wait returns when nothing of it is left.
func (b *Backend) Wait(ctx context.Context) (plane.Exit, error) {
	if b.Running.Exit != nil {
		return *b.Running.Exit, nil
	}
	var exit plane.Exit
	err := b.Line.Ask(ctx, func(c *warden.Client) (err error) {
		exit, err = c.Wait(ctx, b.Running.Backend)
		return err
	})
	return exit, err
}

// Forget drops what the warden keeps of it.
func (b *Backend) Forget(ctx context.Context) error {
	return b.Line.Ask(ctx, func(c *warden.Client) error { return c.Forget(ctx, b.Running.Backend) })
}
