package oci

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"plane"
	"plane/internal/runtime"
)

// errNoWay: a backend can't have what its app asks for, and must not run without.
var errNoWay = errors.New("the backend can't have its egress")

// letOut gives a sandbox's network its way out.
func (r *Runtime) letOut(ctx context.Context, u runtime.Unit, pid int) error {
	if u.Egress.None() || r.opts.Way == nil || pid == 0 {
		return nil
	}
	if err := r.opts.Way.Attach(ctx, pid, u.Backend, u.Egress); err != nil {
		return fmt.Errorf("%w: %w", errNoWay, err)
	}
	return nil
}

// closeWay removes it.
func (r *Runtime) closeWay(ctx context.Context, id plane.BackendID) {
	if r.opts.Way == nil {
		return
	}
	if err := r.opts.Way.Detach(ctx, id); err != nil {
		r.log.Warn("the way out of an ended backend is left", "backend", id, "error", err)
	}
}

// resolver is a sandbox's /etc/resolv.conf.
func (r *Runtime) resolver(e plane.Egress) string {
	if e.None() || r.opts.Way == nil {
		return ""
	}
	var out strings.Builder
	for _, a := range r.opts.Way.Resolvers() {
		out.WriteString("nameserver " + a.String() + "\n")
	}
	return out.String()
}
