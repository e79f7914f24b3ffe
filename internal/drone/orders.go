package drone

import (
	"context"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/wire"
)

// spawn takes an order to run a backend, or refuses it for ever. The order may
// come twice. It is recorded before it is acknowledged.
func (c *crew) spawn(ctx context.Context, m wire.Spawn) wire.Acted {
	acted := wire.Acted{Action: m.Action, Backend: m.Backend}
	refusal, known := c.judge(m)
	if known {
		acted.Refusal = refusal
		return acted
	}
	if refusal == "" {
		b := journal.Backend{
			Key: m.Key, Generation: m.Generation, Cluster: m.Cluster,
			Policy: m.Grant.Policy, Epoch: m.Grant.Epoch,
			App: m.App, Release: m.Release, Spec: m.Spec, Static: journal.Secret(m.StaticToken),
			Boot: c.BootID, AcceptedAt: c.Clock.Now(), Request: m.RequestID,
		}
		if m.Volume != nil {
			b.Volume = &journal.Volume{ID: m.Volume.ID, New: m.Volume.New}
		}
		if x, bad := plane.ParseExecutable(m.Spec.Executable); bad == nil {
			b.Runtime = c.choose(x)
		}
		if err := c.journal.Put(journal.KindBackend, string(m.Backend), b); err != nil {
			c.Log.Error("an order was not recorded on disk; it is refused", "backend", m.Backend, "error", err)
			refusal = plane.RefusedClosing
		} else {
			r := newRunner(c.shared, m.Backend, b, journal.Progress{State: plane.State{Status: plane.Scheduled}}, nil)
			c.roster.add(r)
			c.launch(ctx, r)
			return acted
		}
	}
	logOf(c.Log, m.Backend, m.Key, m.Generation, m.RequestID).Warn("an order to start a backend is refused", "why", refusal)
	c.refuse(m.Backend, m.Grant.Policy, refusal)
	acted.Refusal = refusal
	return acted
}

// judge decides on an order. known: it was decided before, with that answer.
func (c *crew) judge(m wire.Spawn) (refusal plane.Refusal, known bool) {
	c.roster.mu.Lock()
	defer c.roster.mu.Unlock()
	if c.roster.runners[m.Backend] != nil {
		return "", true
	}
	if _, ended := c.roster.ended[m.Backend]; ended {
		return "", true
	}
	if t, buried := c.roster.tombstones[m.Backend]; buried {
		return t.Refusal, true
	}
	if c.roster.closing || m.Backend.Check() != nil {
		return plane.RefusedClosing, false
	}
	if refusal := c.keeper.accepts(m.Grant); refusal != "" {
		return refusal, false
	}
	hash := m.Key.Hash()
	if _, used := c.roster.keys[hash]; used {
		return plane.RefusedKeyInUse, false
	}
	if id, foreign := c.roster.foreign[hash]; foreign {
		for _, e := range c.Table.Entries() {
			if e.Backend == id {
				return plane.RefusedKeyInUse, false
			}
		}
		delete(c.roster.foreign, hash)
	}
	return "", false
}

// refuse leaves a tombstone, so that a late copy of the order finds it.
func (c *crew) refuse(id plane.BackendID, p plane.Policy, why plane.Refusal) {
	t := c.tombstone(p, why)
	c.roster.mu.Lock()
	c.roster.tombstones[id] = t
	c.roster.mu.Unlock()
	if err := c.journal.Put(journal.KindTombstone, string(id), t); err != nil {
		c.Log.Error("a refusal was not recorded on disk", "backend", id, "error", err)
	}
}

// terminate takes an order to make a backend absent. What isn't known here
// never will be: that is remembered, and reported as an end.
func (c *crew) terminate(m wire.Terminate) wire.Acted {
	acted := wire.Acted{Action: m.Action, Backend: m.Backend}
	if r := c.roster.get(m.Backend); r != nil {
		kind := m.Kind
		if kind != plane.Hard {
			kind = plane.Soft
		}
		r.tell(plane.Event{Kind: plane.EventStop, Stop: kind, Reason: m.Reason})
		return acted
	}
	c.roster.mu.Lock()
	_, ended := c.roster.ended[m.Backend]
	_, buried := c.roster.tombstones[m.Backend]
	c.roster.mu.Unlock()
	if ended {
		return acted // its report is on the way
	}
	if !buried && m.Backend.Check() == nil {
		c.refuse(m.Backend, m.Policy, plane.RefusedTombstone)
	}
	c.reportLost(m.Backend, 0)
	return acted
}

// drain tells the backends that the machine gets no new ones: they may have
// their users move, and will be asked to end one day.
func (c *crew) drain(on bool) {
	for _, r := range c.roster.all() {
		if on {
			r.stream.publish("drain", notice{})
		} else {
			r.stream.retract("drain")
		}
	}
}

// acknowledged gives back what ended backends had, once nobody routes to them.
func (c *crew) acknowledged(ctx context.Context, reports []journal.Report) {
	for _, report := range reports {
		if report.State.Status != plane.Terminated {
			continue
		}
		c.ports.release(report.Port)
		c.ports.release(report.Ports...)
		c.roster.mu.Lock()
		e, ended := c.roster.ended[report.Backend]
		c.roster.mu.Unlock()
		if ended {
			c.bury(ctx, report.Backend, e.record.Policy)
		} else {
			c.prolong(report.Backend)
		}
	}
}

// prolong lets the tombstone of a refusal count from its acknowledgement: until
// then the order may have been sent again, with a newer grant.
func (c *crew) prolong(id plane.BackendID) {
	t, ok := c.roster.prolong(id, c.Clock.Now())
	if !ok {
		return
	}
	if err := c.journal.Put(journal.KindTombstone, string(id), t); err != nil {
		c.Log.Error("a refusal was not recorded on disk", "backend", id, "error", err)
	}
}

func (c *crew) expireTombstones() {
	var changes []journal.Change
	for _, id := range c.roster.expire(c.Clock.Now(), c.outbox.has) {
		changes = append(changes, journal.Change{Kind: journal.KindTombstone, Key: string(id)})
	}
	if len(changes) == 0 {
		return
	}
	if err := c.journal.Apply(changes...); err != nil {
		c.Log.Error("old refusals could not be dropped on disk", "error", err)
	}
}
