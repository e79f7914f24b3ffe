package drone

import (
	"context"
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/runtime"
	"plane/internal/wait"
)

// memory is what the journal says.
type memory struct {
	renewal    map[string]journal.Renewal
	backends   map[string]journal.Backend
	progress   map[string]journal.Progress
	holds      map[string]journal.Holds
	reports    map[string]journal.Report
	tombstones map[string]journal.Tombstone
}

func recall(j *journal.Journal) (node journal.Node, m memory, err error) {
	nodes, err := journal.All[journal.Node](j, journal.KindNode)
	if err != nil {
		return node, m, err
	}
	var errs [6]error
	m.renewal, errs[0] = journal.All[journal.Renewal](j, journal.KindRenewal)
	m.backends, errs[1] = journal.All[journal.Backend](j, journal.KindBackend)
	m.progress, errs[2] = journal.All[journal.Progress](j, journal.KindProgress)
	m.holds, errs[3] = journal.All[journal.Holds](j, journal.KindHolds)
	m.reports, errs[4] = journal.All[journal.Report](j, journal.KindReport)
	m.tombstones, errs[5] = journal.All[journal.Tombstone](j, journal.KindTombstone)
	return nodes[""], m, errors.Join(errs[:]...)
}

// adopt takes over what earlier agents left: it compares journal, table and
// what the runtimes really run, and gives every backend a runner, or its end.
// Nothing is killed that the journal knows; what nobody knows is.
func (c *crew) adopt(ctx context.Context) error {
	node, m, err := recall(c.journal)
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	if node.Name != "" && node.Name != c.Name {
		return fmt.Errorf("data directory %s belongs to drone %s; use --name %s or another data directory", c.Home.Dir, node.Name, node.Name)
	}
	c.node.node = node
	c.outbox.restore(m.reports, node.SeqLimit)
	rebooted := node.Epochs != nil && node.Boot != c.BootID
	// On one host a new boot proves that nothing of the old one runs: a copy
	// of the machine would have its own copy of the store.
	c.joins = rebooted && c.SingleHost
	if err := c.node.change(func(n *journal.Node) {
		n.Name, n.Cluster, n.Warden = c.Name, c.Cluster, c.WardenInstance()
		n.SeqLimit += seqBlock
		if n.Epochs == nil {
			n.Boot = c.BootID
		}
	}); err != nil {
		return err
	}
	c.outbox.reserved(c.node.get().SeqLimit)
	c.keeper.set(c.lastHolding(node, m, rebooted))
	for id, t := range m.tombstones {
		if t.Boot == c.BootID {
			c.roster.tombstones[plane.BackendID(id)] = t
		}
	}

	found, err := c.find(ctx)
	if err != nil {
		return err
	}
	for key, b := range m.backends {
		id := plane.BackendID(key)
		c.adoptOne(ctx, id, b, m.progress[key], m.holds[key], found[id])
		delete(found, id)
	}
	for id, f := range found {
		c.adoptOrphan(ctx, id, f)
	}
	for _, e := range c.Table.Entries() {
		if _, known := m.backends[string(e.Backend)]; known {
			continue
		}
		if _, orphan := found[e.Backend]; !orphan {
			c.Log.Warn("the table has a backend that nobody knows; it is ended", "backend", e.Backend)
			c.Table.Shorten(e.Backend, c.Clock.Now())
		}
		c.roster.foreign[e.Key] = e.Backend
	}
	if ctx.Err() != nil {
		return ctx.Err() // some may not have been looked at
	}
	for _, r := range c.roster.all() {
		c.launch(ctx, r)
	}
	c.tasks.Go(c.sweepScratch)
	return nil
}

// lastHolding is the lease as the last agent of this boot had it: deadlines
// are absolute, so they are still true.
func (c *crew) lastHolding(node journal.Node, m memory, rebooted bool) plane.Holding {
	h := plane.Holding{Store: node.Store}
	if node.Epochs != nil {
		h.Epochs = *node.Epochs
	}
	r, ok := m.renewal[""]
	if !ok || rebooted || r.Boot != c.BootID {
		return h
	}
	h.Attempt = r.Number - 1
	h, number := h.Send(r.SentAt)
	h, _ = h.Renewed(number)
	return h
}

type found struct {
	runtime.Found
	runtime runtime.Runtime
}

// find asks the runtimes until they answer: what isn't known can't be decided.
func (c *crew) find(ctx context.Context) (map[plane.BackendID]found, error) {
	out := map[plane.BackendID]found{}
	for name, rt := range c.Runtimes {
		for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
			list, err := rt.Found(ctx)
			if err == nil {
				for _, f := range list {
					out[f.Backend] = found{f, rt}
				}
				break
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			c.Log.Warn("runtime can't tell yet what runs; asking again", "runtime", name, "error", err)
			if !wait.For(ctx, pause) {
				return nil, ctx.Err()
			}
		}
	}
	return out, nil
}

func (c *crew) adoptOne(ctx context.Context, id plane.BackendID, b journal.Backend, p journal.Progress, h journal.Holds, f found) {
	if p.State.Status == "" {
		p.State.Status = plane.Scheduled
	}
	c.ports.hold(portsOf(p).all()...)
	if p.State.Status == plane.Terminated {
		if !c.outbox.has(id) {
			// Acknowledged, and the process died before it could say so.
			c.bury(ctx, id, b.Policy)
			c.ports.release(portsOf(p).all()...)
			return
		}
		c.roster.ended[id] = ending{b, p.State}
		return
	}
	if b.Boot != c.BootID && !c.SingleHost {
		c.ghosts[id] = b.Policy
		return
	}
	r := newRunner(c.shared, id, b, p, h)
	if b.Boot != c.BootID {
		// Its process can't have survived, and neither may it start again.
		if !r.state.Status.Ending() {
			r.state = plane.State{Status: plane.Waiting}
		}
	} else if r.expired = c.expired(b); r.runtime == nil {
		c.Log.Warn("backend is of a runtime that this drone no longer has; it is ended", "backend", id)
		c.Table.Shorten(id, c.Clock.Now())
	} else if r.process = c.attach(ctx, r.runtime, id); r.process == nil && f.runtime != nil {
		c.Log.Warn("backend was found and then wasn't", "backend", id)
	}
	c.roster.add(r)
}

// expired is the deadline of a backend, if that has passed, or 0. No renewal
// can move it any more.
func (c *crew) expired(b journal.Backend) plane.Instant {
	until := c.keeper.deadline(b.Policy, b.Epoch)
	if until == 0 || until == plane.Never || c.Clock.Now() < until {
		return 0
	}
	return until
}

// attach asks until it is answered; nil = gone, or ctx is done.
func (c *crew) attach(ctx context.Context, rt runtime.Runtime, id plane.BackendID) runtime.Process {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		p, err := rt.Attach(ctx, id)
		if err == nil {
			return p
		}
		if errors.Is(err, runtime.ErrGone) {
			return nil
		}
		c.Log.Warn("cannot tell whether a backend runs; asking again", "backend", id, "error", err)
		if !wait.For(ctx, pause) {
			return nil
		}
	}
}

// adoptOrphan ends what runs without any record of it.
func (c *crew) adoptOrphan(ctx context.Context, id plane.BackendID, f found) {
	if f.Exit != nil {
		c.graves.add(id, time.Now()) // its end was acknowledged; people may still read its output
		return
	}
	generation := plane.Generation(0)
	for _, e := range c.Table.Entries() {
		if e.Backend == id {
			generation = e.Generation
		}
	}
	c.roster.orphan(id)
	c.tasks.Go(func() {
		c.Table.Shorten(id, c.Clock.Now())
		for pause := 50 * time.Millisecond; ; pause = min(2*pause, restop) {
			p, err := f.runtime.Attach(ctx, id)
			if errors.Is(err, runtime.ErrGone) {
				break
			}
			if err == nil {
				c.Log.Warn("a backend runs that the journal doesn't know; it is ended", "backend", id)
				_ = p.Stop(ctx, plane.Hard) // repeated until its end
				wctx, cancel := context.WithTimeout(ctx, restop)
				_, err = p.Wait(wctx)
				cancel()
			}
			if err == nil {
				_ = p.Forget(ctx) // what it keeps is found by the next agent
				break
			}
			if !wait.For(ctx, pause) {
				return
			}
		}
		c.roster.orphanGone(id)
		c.reportLost(id, generation)
	})
}

// reportLost says that a backend of which nothing is known is not here.
func (c *crew) reportLost(id plane.BackendID, g plane.Generation) {
	if c.outbox.has(id) {
		return
	}
	c.outbox.add(journal.Report{
		Backend: id, Generation: g, AtMS: time.Now().UnixMilli(),
		State: plane.State{Status: plane.Terminated, Reason: plane.Lost, Exit: &plane.Exit{}},
	}, true)
}

// bury forgets an ended backend, after its end was acknowledged.
func (c *crew) bury(ctx context.Context, id plane.BackendID, p plane.Policy) {
	t := c.tombstone(p, plane.RefusedTombstone)
	c.roster.bury(id, t)
	if err := c.journal.Apply(
		journal.Change{Kind: journal.KindTombstone, Key: string(id), Value: t},
		journal.Change{Kind: journal.KindBackend, Key: string(id)},
		journal.Change{Kind: journal.KindProgress, Key: string(id)},
		journal.Change{Kind: journal.KindHolds, Key: string(id)},
	); err != nil {
		c.Log.Error("an ended backend could not be dropped on disk", "backend", id, "error", err)
	}
	c.graves.add(id, time.Now())
	c.sweepGraves(ctx)
}
