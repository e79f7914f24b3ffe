package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"plane"
	"plane/internal/drone/means"
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
	r.fill(ctx)
	return nil
}

// sweep removes what is kept of backends of which the warden knows nothing: a
// former agent was killed while it started or forgot them. Prepared sandboxes
// ended with that agent.
func (r *Runtime) sweep(ctx context.Context) error {
	ids, err := r.kept()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := means.SandboxGroup(id); err == nil {
			continue
		}
		if err := r.sweepOne(ctx, id); err != nil {
			return err
		}
	}
	if ids, err = r.kept(); err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, id := range ids {
		if c := bundleOf(r.opts.Home, id).container(); c != id {
			taken[c] = true
		}
	}
	for _, id := range ids {
		if _, err := means.SandboxGroup(id); err == nil && !taken[id] {
			r.drop(id)
		}
	}
	return nil
}

// kept are the names of all bundles and holds.
func (r *Runtime) kept() ([]string, error) {
	ids := r.from.holders()
	entries, err := os.ReadDir(r.opts.Home.Bundles())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for bundles: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), hidden) && !slices.Contains(ids, e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// sweepOne waits for a start of that backend, should one be under way.
func (r *Runtime) sweepOne(ctx context.Context, id string) error {
	release, err := r.Alone(ctx, plane.BackendID(id))
	if err != nil {
		return err
	}
	defer release()
	err = r.Ask(ctx, func(c *warden.Client) error {
		_, err := c.Attach(ctx, plane.BackendID(id))
		return err
	})
	if errors.Is(err, runtime.ErrGone) {
		r.log.Info("removing what a former start left", "backend", id)
		r.closeWay(ctx, plane.BackendID(id))
		r.drop(id)
		return nil
	}
	return err
}
