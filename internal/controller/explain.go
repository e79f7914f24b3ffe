package controller

import (
	"context"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

const (
	explainHistory = 20 // generations
	explainEvents  = 50
)

// Explain tells why a key's backend runs, or doesn't. A key that nothing is
// known of has an empty explanation.
func (c *Controller) Explain(ctx context.Context, a Actor, namespace, name string) (Explanation, error) {
	if err := a.May(VerbRead, namespace); err != nil {
		return Explanation{}, err
	}
	out := Explanation{Key: plane.Key{Namespace: namespace, Name: name}}
	var (
		past   []store.Backend
		events []store.Event
		crash  store.Crash
		now    time.Time
	)
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		now = tx.Now()
		if past, err = tx.KeyBackends(namespace, name, explainHistory); err != nil {
			return err
		}
		if events, err = tx.KeyEvents(namespace, name, explainEvents); err != nil {
			return err
		}
		if crash, err = tx.Crash(namespace, name); err != nil {
			return err
		}
		return c.explainData(tx, &out)
	})
	if err != nil {
		return out, fmt.Errorf("explain key: %w", err)
	}
	out.History = make([]PastView, 0, len(past))
	for i, b := range past {
		if i == 0 {
			out.Key.Tag, out.Decision = b.Key.Tag, b.Decision
			if b.State.Status != plane.Terminated {
				v := c.nowView(b, now, events)
				out.Now = &v
			}
		}
		out.History = append(out.History, pastView(b, events))
	}
	out.Events = make([]EventView, 0, len(events))
	for _, e := range events {
		out.Events = append(out.Events, eventView(e))
	}
	if crash.Count > 0 {
		out.Crash = &CrashView{Count: crash.Count, Output: crash.Output}
		if left := crash.Last.Add(crashPause(crash.Count)).Sub(now); left > 0 {
			out.Crash.RetryIn = ceilSeconds(left)
		}
	}
	if out.Now == nil {
		out.Next = c.hindrance(ctx, out, crash, past, now)
	}
	return out, nil
}

func (c *Controller) explainData(tx store.Tx, out *Explanation) error {
	out.Data = nil
	v, err := tx.Volume(out.Key.Namespace, out.Key.Name)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	view, err := c.dataView(tx, v)
	out.Data = &view
	return err
}

// hindrance tells why a connect would start nothing now, as it would be told;
// "" if nothing is known that stands in the way.
func (c *Controller) hindrance(ctx context.Context, e Explanation, crash store.Crash, past []store.Backend, now time.Time) string {
	if bad := crashed(crash, now); bad != nil {
		return bad.Message
	}
	spec, cluster, n := c.nextNeed(ctx, e.Key, past)
	if spec == nil {
		return ""
	}
	if e.Data != nil && spec.Data == plane.DataKeep {
		if bad := dataPlace(e.Key, e.Data.Drone, cluster, c.drones.session(e.Data.Drone), n); bad != nil {
			return bad.Message
		}
		return ""
	}
	if _, bad := fitting(c.drones.candidates(cluster, n.policy), n); bad != nil {
		return bad.Message
	}
	return ""
}

// nextNeed is what a connect would start: what the key's app says, or else what
// was started last. The spec is nil if neither is known.
func (c *Controller) nextNeed(ctx context.Context, k plane.Key, past []store.Backend) (*plane.Spec, plane.ClusterName, need) {
	var spec *plane.Spec
	cluster, byCaller := c.cfg.DefaultCluster, false
	if len(past) > 0 {
		cluster = past[0].Cluster
	}
	switch app, err := c.appOfKey(ctx, k.Namespace); {
	case err == nil:
		spec = &app.spec
	case len(past) > 0 && past[0].Release == 0:
		spec, byCaller = &past[0].Spec, true
	default:
		return nil, "", need{}
	}
	x, bad := plane.ParseExecutable(spec.Executable)
	if bad != nil {
		return nil, "", need{}
	}
	return spec, cluster, need{
		pool: spec.Pool, policy: spec.Policy(), executable: x, byCaller: byCaller && x.Kind() == plane.KindProcess,
	}
}

func pastView(b store.Backend, events []store.Event) PastView {
	v := PastView{
		Backend: b.ID, Generation: b.Generation, Drone: b.Drone, Status: b.State.Status, CreatedAt: b.CreatedAt.UnixMilli(),
		Reason: b.State.Reason, Actor: b.Actor, Exit: exitView(b.State), Story: pastSentence(b, events),
		Digest: b.State.Digest,
	}
	if b.State.Status == plane.Terminated {
		at := b.StateAt.UnixMilli()
		v.EndedAt = &at
	}
	return v
}

func (c *Controller) nowView(b store.Backend, dbNow time.Time, events []store.Event) NowView {
	v := NowView{Backend: c.viewOf(b), Progress: c.starting.pull(b.ID)}
	uses := c.proxies.uses(b.Cluster, b.ID)
	v.Plain, v.Upgraded, v.Holds = uses.Plain, uses.Upgraded, v.Backend.Holds
	if n := b.Spec.LifetimeLimit; n != nil {
		left := wholeSeconds(b.CreatedAt.Add(time.Duration(*n) * time.Second).Sub(dbNow))
		v.EndsIn = &left
	}
	if n := b.Spec.MaxIdle; n != nil {
		limit := int64(*n)
		v.IdleAfter = &limit
	}
	idle := c.use.view(b.ID)
	inUse := v.Backend.Commands > 0 || plane.UseRequests.Counts(b.Spec.Idle) && uses.Open() > 0 || plane.UseHolds.Counts(b.Spec.Idle) && len(v.Holds) > 0
	if idle.known && idle.limit >= 0 && !inUse {
		left := max(0, ceilSeconds(time.Until(idle.due)))
		v.IdleIn = &left
	}
	v.Awake = awakeSentence(b, v, idle, events)
	return v
}
