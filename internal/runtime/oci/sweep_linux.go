package oci

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"plane"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// Run keeps things tidy and prepared sandboxes in stock, until ctx is done. It
// doesn't end for errors: they are told in the log.
func (r *Runtime) Run(ctx context.Context) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		err := r.sweep(ctx)
		if err == nil || ctx.Err() != nil {
			break
		}
		r.log.Warn("what former backends left is not removed yet", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	<-ctx.Done()
	return nil
}

// sweep removes what is kept of backends of which the warden knows nothing: a
// former agent was killed while it started or forgot them.
func (r *Runtime) sweep(ctx context.Context) error {
	var ids []string
	entries, err := os.ReadDir(r.opts.Home.Bundles())
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), hidden) {
			ids = append(ids, e.Name())
		}
	}
	for _, id := range r.from.holders() {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		if err := r.sweepOne(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// sweepOne waits for a start of that backend, should one be under way.
func (r *Runtime) sweepOne(ctx context.Context, id string) error {
	defer r.only(plane.BackendID(id))()
	err := r.Ask(ctx, func(c *warden.Client) error {
		_, err := c.Attach(ctx, plane.BackendID(id))
		return err
	})
	if errors.Is(err, runtime.ErrGone) {
		r.log.Info("removing what a former start left", "backend", id)
		r.drop(id)
		return nil
	}
	return err
}
