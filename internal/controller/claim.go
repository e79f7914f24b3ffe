package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// claimed is what the transaction of a claim decided.
type claimed struct {
	backend store.Backend  // the new one
	spawn   wire.Spawn     // for its drone
	ended   *store.Backend // whose lapsed lease it took over
	lapsed  bool           // that lease's lapse was recorded
}

var (
	errRaced  = errors.New("the key was taken meanwhile")
	errIDUsed = errors.New("backend id used before")
)

// claim takes a key that was seen vacant or lapsed for a new backend. Whether
// it still is, the transaction decides.
func (c *Controller) claim(ctx context.Context, a Actor, w want, seen facts) (got, *again, error) {
	w, err := c.atCurrentRelease(ctx, w)
	if err != nil {
		return got{}, nil, err
	}
	if bad := checkPort(w.port, w.spec.Ports, w.spec.UseStaticToken); bad != nil {
		return got{}, nil, bad // before it is started for nothing
	}
	cluster := c.cfg.DefaultCluster
	if w.spec.Cluster != nil {
		cluster = plane.ClusterName(*w.spec.Cluster)
	}
	if cluster == "" {
		return got{}, nil, plane.NewError(plane.NoClusterProvided, "No cluster provided, and no default cluster for this controller.")
	}
	x, bad := plane.ParseExecutable(w.spec.Executable)
	if bad != nil {
		return got{}, nil, bad
	}
	if len(x.Command) == 0 && x.Image == "" {
		return got{}, nil, plane.Invalid("spawn_config.executable", "spawn_config.executable is null; name a command or an image.")
	}
	drone, decision, err := c.place(ctx, cluster, w.key, w.spec, need{
		pool: w.spec.Pool, policy: w.spec.Policy(), executable: x, byCaller: w.app == nil && x.Kind() == plane.KindProcess,
	})
	if err != nil {
		left := time.Until(c.started.Add(settleTime))
		if (plane.IsKind(err, plane.NoDroneAvailable) || plane.IsKind(err, plane.DataUnavailable)) && left > 0 && c.droneExpected(ctx, cluster) {
			return got{}, &again{wait: c.untilDrone(left)}, nil
		}
		return got{}, nil, err
	}
	if w.spec.UseStaticToken {
		if _, err := c.ringOf(ctx, cluster); err != nil {
			return got{}, nil, err
		}
	}
	draft := draftOf(a, w, cluster, drone, decision)
	var ids []plane.BackendID
	if seen.held {
		ids = append(ids, seen.backend.ID)
	}
	var out claimed
	err = c.change(ctx, ids, func(tx store.Tx) error {
		out = claimed{}
		return c.claimTx(tx, w, seen, draft, &out)
	})
	switch {
	case errors.Is(err, errRaced):
		return got{}, &again{race: true}, nil
	case errors.Is(err, errIDUsed):
		return got{}, nil, plane.NewError(plane.FailedToAcquireKey, fmt.Sprintf(
			"Failed to acquire lock. Backend id %s was used before; ids are never used again.", draft.ID))
	case err != nil:
		return got{}, nil, fmt.Errorf("claim key: %w", err)
	}
	c.claimDone(out)
	return got{live: c.liveKeyOf(out.backend), drone: drone, spawned: true}, nil, nil
}

// atCurrentRelease makes w's spec what is started: that of its app, as it is
// now, with what the caller said beside it.
func (c *Controller) atCurrentRelease(ctx context.Context, w want) (want, error) {
	if w.app == nil {
		return w, nil
	}
	now, err := c.appOf(ctx, w.app.name)
	if err != nil {
		return w, fmt.Errorf("read app: %w", err)
	}
	w.app, w.spec = now, now.with(w.spec)
	if w.spec.MaxIdle == nil {
		w.spec.MaxIdle = c.cfg.DefaultMaxIdle // no part of the template: another default makes no release
	}
	return w, nil
}

// draftOf is the row of a new backend, as far as it is known before the transaction.
func draftOf(a Actor, w want, cluster plane.ClusterName, drone plane.NodeName, decision string) store.Backend {
	b := store.Backend{
		Key:       w.key,
		Cluster:   cluster,
		Drone:     drone,
		Spec:      *w.spec,
		Policy:    w.spec.Policy(),
		Static:    w.spec.UseStaticToken,
		Actor:     a.String(),
		Decision:  decision,
		RequestID: a.RequestID,
		State:     plane.State{Status: plane.Scheduled},
	}
	if w.app != nil {
		b.App, b.Release = w.app.name, w.app.release
	}
	if w.spec.ID != nil {
		b.ID = plane.BackendID(*w.spec.ID)
	} else {
		b.ID = plane.BackendID(newName(plane.NoPrefix))
	}
	if w.spec.Subdomain != nil {
		b.Subdomain = *w.spec.Subdomain
	}
	return b
}

// claimTx is the transaction: the key is still free, or its holder's lapse is
// recorded here and now (leases: a lapse is recorded before it is used); the
// drone's lease is current; then backend, key and spawn are written together.
func (c *Controller) claimTx(tx store.Tx, w want, seen facts, b store.Backend, out *claimed) error {
	if w.known {
		f, err := readFacts(tx, placeOf(w.key))
		if err != nil {
			return err
		}
		switch judge(f, w.key.Tag, tx.Now(), c.clock.lapsed) {
		case vacant:
		case lapsed:
			if !seen.held || f.backend.ID != seen.backend.ID {
				return errRaced
			}
			if err := c.takeOver(tx, f, out); err != nil {
				return err
			}
		default:
			return errRaced
		}
		crash, err := tx.Crash(w.key.Namespace, w.key.Name)
		if err != nil {
			return err
		}
		if e := crashed(crash, tx.Now()); e != nil {
			return e
		}
	}
	if err := atPointer(tx, w.app); err != nil {
		return err
	}
	if err := c.roomFor(tx, b.Cluster); err != nil {
		return err
	}
	grant, err := c.grant(tx, b.Drone, b.Policy)
	if err != nil {
		return err
	}
	b.Epoch = grant.Epoch
	if b.Generation, err = tx.NextGeneration(); err != nil {
		return err
	}
	var data *wire.Volume
	if b.Spec.Data == plane.DataKeep {
		isNew, err := attachData(tx, &b)
		if err != nil {
			return err
		}
		data = &wire.Volume{ID: b.Volume, New: isNew}
	}
	if err := tx.InsertBackend(b); errors.Is(err, store.ErrConflict) {
		return errIDUsed
	} else if err != nil {
		return err
	}
	err = tx.InsertKey(store.Key{Key: b.Key, Backend: b.ID, Generation: b.Generation})
	if errors.Is(err, store.ErrConflict) {
		return errRaced
	}
	if err != nil {
		return err
	}
	action := newName(plane.PrefixAction)
	err = tx.InsertAction(store.Action{ID: action, Drone: b.Drone, Backend: b.ID, Kind: actionSpawn, Body: []byte("{}")})
	if err != nil {
		return err
	}
	err = tx.InsertEvent(store.Event{
		Kind: "connect", Actor: b.Actor, Key: b.Key, Backend: b.ID, Generation: b.Generation, Node: b.Drone, RequestID: b.RequestID,
		Text: startedSentence(b),
	})
	if err != nil {
		return err
	}
	b.CreatedAt = tx.Now()
	b.StateAt = b.CreatedAt
	out.backend, out.spawn = b, c.spawnOf(b, action, grant, data)
	return nil
}

// atPointer: the app was moved to another release since it was read, and
// nothing of the old one is started any more.
func atPointer(tx store.Tx, app *appNow) error {
	if app == nil {
		return nil
	}
	now, err := tx.App(app.name)
	if err == nil && now.Release != app.release {
		return errRaced
	}
	return err
}

func startedSentence(b store.Backend) string {
	if b.Release > 0 {
		return fmt.Sprintf("Started release %d of %s: %s", b.Release, calledApp(b.App), b.Decision)
	}
	return "Started: " + b.Decision
}

// takeOver ends the claim of a holder that is dead by lease arithmetic: its
// epoch is raised by a compare-and-set, or was before. Reading that the lease
// has run out isn't enough: it may have been renewed since.
func (c *Controller) takeOver(tx store.Tx, f facts, out *claimed) error {
	b := f.backend
	if f.drone != nil && b.Epoch == f.drone.Epochs.Of(b.Policy) {
		raised, err := tx.RaiseEpoch(b.Drone, b.Policy, b.Epoch, b.Policy.Terms().Store)
		if err != nil {
			return err
		}
		if !raised {
			return errRaced
		}
		if err := tx.InsertEvent(lapseEvent(b.Drone, b.Policy)); err != nil {
			return err
		}
		out.lapsed = true
	}
	if err := endLost(tx, b, "its drone's lease lapsed"); err != nil {
		return err
	}
	out.ended = &b
	return nil
}

// claimDone tells everybody, after the commit.
func (c *Controller) claimDone(out claimed) {
	b := out.backend
	c.cfg.Metrics.startBegun()
	c.tell("a drone is to start a backend", b)
	if out.lapsed {
		c.cfg.Metrics.lapsed(out.ended.Policy)
	}
	if out.ended != nil {
		c.gone(*out.ended)
		c.drones.markReap(out.ended.Drone)
	}
	if b.Static {
		c.statics.add(out.spawn.StaticToken, b.ID)
	}
	route := c.routeOf(b, nil)
	c.starting.put(route, b.Drone) // before the drone can say that it is ready
	if s := c.drones.session(b.Drone); s != nil {
		s.courier.send(out.spawn.Action, out.spawn)
	}
	c.push(route)
	c.hub.notify(topic(b.ID))
	c.hub.notify(topicEvents)
}

// spawnOf is the message for a new backend.
func (c *Controller) spawnOf(b store.Backend, action string, g plane.Grant, data *wire.Volume) wire.Spawn {
	m := wire.Spawn{
		Action: action, Backend: b.ID, Key: b.Key, Generation: b.Generation, Cluster: b.Cluster,
		Grant: g, App: b.App, Release: b.Release, Spec: b.Spec, Volume: data, RequestID: b.RequestID,
	}
	if b.Static {
		m.StaticToken = c.rings.of(b.Cluster).Static(b.ID)
	}
	return m
}

// schedule chooses a drone for a new backend.
func (c *Controller) schedule(ctx context.Context, cluster plane.ClusterName, n need) (plane.NodeName, string, error) {
	load := func(name plane.NodeName) int {
		count := 0
		err := c.store.View(ctx, func(tx store.Tx) (err error) {
			count, err = tx.CountLive(name)
			return err
		})
		if err != nil {
			return 1 << 30
		}
		return count
	}
	name, decision, bad := choose(c.drones.candidates(cluster, n.policy), n, c.cfg.BestOf, rand.IntN, load)
	if bad != nil {
		return "", "", bad
	}
	return name, decision, nil
}

// droneExpected reports whether a drone of the cluster was there shortly
// before, and may be back in a moment.
func (c *Controller) droneExpected(ctx context.Context, cluster plane.ClusterName) bool {
	expected := false
	err := c.store.View(ctx, func(tx store.Tx) error {
		drones, err := tx.Drones(cluster)
		for _, d := range drones {
			expected = expected || tx.Now().Sub(d.RenewedAt) < time.Minute
		}
		return err
	})
	return err == nil && expected
}
