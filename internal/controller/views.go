package controller

import (
	"context"
	"fmt"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

const activityAwake = "awake"

func (c *Controller) viewOf(b store.Backend) BackendView {
	v := BackendView{
		BackendID: b.ID, Key: b.Key, Generation: b.Generation, App: b.App, Release: b.Release, Cluster: b.Cluster,
		Drone: b.Drone, Status: b.State.Status, Activity: activityAwake, Since: b.StateAt.UnixMilli(),
		Holds: []wire.Hold{}, Exit: exitView(b.State), Digest: b.State.Digest,
	}
	if b.State.Status == plane.Terminated {
		return v
	}
	v.Connections = c.proxies.uses(b.Cluster, b.ID).Open()
	if s := c.drones.session(b.Drone); s != nil {
		u := s.usage.of(b.ID)
		v.CPUMS, v.MemoryBytes, v.CacheBytes, v.Pids = u.CPUMS, u.Memory, u.Cache, u.Pids
		v.Received, v.Sent, v.DiskBytes, v.DataBytes = u.In, u.Out, u.Disk, u.Data
		v.Commands = max(u.Commands, s.execs.in(b.ID)) // the latter is newer, and has only those of this controller
		if len(u.Holds) > 0 {
			v.Holds = u.Holds
		}
	}
	return v
}

// known is s, or nil if it is "".
func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func exitView(s plane.State) *ExitView {
	if s.Status != plane.Terminated {
		return nil
	}
	v := &ExitView{Reason: s.Reason}
	if x := s.Exit; x != nil {
		v.Code, v.OOM, v.Output, v.Message = x.Code, x.OOM, x.Output, x.Message
		if x.Signal != "" {
			v.Signal = &x.Signal
		}
		if v.Output == "" {
			v.Output = x.Message
		}
	}
	return v
}

// Backend shows one backend.
func (c *Controller) Backend(ctx context.Context, a Actor, id plane.BackendID) (BackendView, error) {
	b, err := c.readable(ctx, a, id)
	if err != nil {
		return BackendView{}, err
	}
	return c.viewOf(b), nil
}

// readable reads a backend that a may see.
func (c *Controller) readable(ctx context.Context, a Actor, id plane.BackendID) (store.Backend, error) {
	b, err := c.backend(ctx, id)
	if err != nil {
		return b, err
	}
	return b, a.May(VerbRead, b.Key.Namespace)
}

// Backends lists backends in the order of their ids, at most f.Limit (1000)
// of them; Next is the cursor for more. A caller whose grants name namespaces
// sees those alone.
func (c *Controller) Backends(ctx context.Context, a Actor, f store.Filter) (BackendPage, error) {
	out := BackendPage{Backends: []BackendView{}}
	switch {
	case f.Limit < 0 || f.Limit > pageLimit:
		return out, plane.Invalid("limit", fmt.Sprintf("limit is %d; it must be from 1 to %d.", f.Limit, pageLimit))
	case f.Status != "" && f.Status.Order() == 0:
		return out, plane.Invalid("status", fmt.Sprintf("There is no status %q.", f.Status))
	case !a.readsSomething():
		return out, a.May(VerbRead, Everywhere)
	}
	if f.Limit == 0 {
		f.Limit = pageLimit
	}
	if f.Namespace != nil {
		if err := a.May(VerbRead, *f.Namespace); err != nil {
			return out, err
		}
	}
	limit := f.Limit
	for {
		var rows []store.Backend
		err := c.store.View(ctx, func(tx store.Tx) (err error) {
			page := f
			page.Limit++ // one more tells whether there is more
			rows, err = tx.Backends(page)
			return err
		})
		if err != nil {
			return out, fmt.Errorf("list backends: %w", err)
		}
		for i, b := range rows {
			if i == f.Limit {
				break
			}
			if len(out.Backends) == limit {
				next := string(f.After)
				out.Next = &next
				return out, nil
			}
			f.After = b.ID
			if a.allows(VerbRead, b.Key.Namespace) {
				out.Backends = append(out.Backends, c.viewOf(b))
			}
		}
		if len(rows) <= f.Limit {
			return out, nil
		}
		if len(out.Backends) == limit {
			next := string(f.After)
			out.Next = &next
			return out, nil
		}
	}
}
