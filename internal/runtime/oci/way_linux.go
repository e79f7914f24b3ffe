package oci

import (
	"context"
	"fmt"

	"plane"
	"plane/internal/runtime"
)

// letOut gives a backend its way out once its network is there. One that can't
// have what its app asks for is ended, and says why.
func (r *Runtime) letOut(ctx context.Context, u runtime.Unit, p runtime.Process) error {
	if u.Egress.None() || r.opts.Way == nil || p.Pid() == 0 {
		return nil
	}
	err := r.opts.Way.Attach(ctx, p.Pid(), u.Backend, u.Egress)
	if err == nil {
		return nil
	}
	_ = p.Stop(context.WithoutCancel(ctx), plane.Hard)
	return fmt.Errorf("the backend can't have its egress: %w", err)
}
