package controller

import (
	"context"
	"errors"
	"fmt"

	"plane"
	"plane/internal/store"
)

// place chooses a drone for a new backend: the one that the key's data is on,
// if the backend keeps data and has some, else any that fits. What it read may
// change until the claim, which looks again.
func (c *Controller) place(ctx context.Context, cluster plane.ClusterName, k plane.Key, spec *plane.Spec, n need) (plane.NodeName, string, error) {
	if spec.Data != plane.DataKeep {
		return c.schedule(ctx, cluster, n)
	}
	var v store.Volume
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		v, err = tx.Volume(k.Namespace, k.Name)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return c.schedule(ctx, cluster, n)
	}
	if err != nil {
		return "", "", fmt.Errorf("look up data of key: %w", err)
	}
	if bad := dataPlace(k, v.Drone, cluster, c.drones.session(v.Drone), n); bad != nil {
		return "", "", bad
	}
	return v.Drone, fmt.Sprintf("%s has the key's data.", v.Drone), nil
}

// dataPlace says why a key can't run where its data is, or nil. It runs nowhere
// else: an empty document in place of a lost one would be worse than none.
func dataPlace(k plane.Key, drone plane.NodeName, cluster plane.ClusterName, s *droneSession, n need) *plane.Error {
	remedy := ""
	switch {
	case s == nil || !s.takes(n.policy):
		remedy = "which can't be reached. Start that drone again"
	case s.cluster != cluster:
		remedy = fmt.Sprintf("which is in cluster %s. Connect there", s.cluster)
	case s.draining.Load():
		remedy = fmt.Sprintf("which is being drained. Let it take backends again (plane node undrain %s)", drone)
	case !candidate{runtimes: s.runtimes, commands: s.commands}.runs(n):
		remedy = "which has no runtime for it any more. Give it one"
	default:
		return nil
	}
	e := plane.NewError(plane.DataUnavailable, fmt.Sprintf(
		"The data of key %s is on drone %s, %s, or give the data up for good (plane data abandon %s).", k, drone, remedy, k))
	e.Status, e.Retry = 503, dataRetry
	return e
}

// attachData gives a new backend its key's data, in the claim's transaction:
// data made elsewhere, or attached by a later generation, refuses it.
func attachData(tx store.Tx, b *store.Backend) (isNew bool, err error) {
	v, err := tx.Volume(b.Key.Namespace, b.Key.Name)
	if errors.Is(err, store.ErrNotFound) {
		b.Volume = newName(plane.PrefixVolume)
		err := tx.InsertVolume(store.Volume{
			ID: b.Volume, Namespace: b.Key.Namespace, Name: b.Key.Name, App: b.App, Drone: b.Drone, Generation: b.Generation,
		})
		if errors.Is(err, store.ErrConflict) {
			return false, errRaced
		}
		return true, err
	}
	if err != nil {
		return false, err
	}
	if v.Drone != b.Drone {
		return false, errRaced // choose again: it is elsewhere
	}
	attached, err := tx.AttachVolume(v.ID, b.Generation)
	if err == nil && !attached {
		err = fmt.Errorf("data %s was attached by generation %d, which is later than %d", v.ID, v.Generation, b.Generation)
	}
	b.Volume = v.ID
	return !v.Made, err
}

// roomFor says that the cluster has as many live backends as it may have, or
// nil. In a store with one writer the limit is exact; with several it may be
// exceeded by as many as claims run at the same time.
func (c *Controller) roomFor(tx store.Tx, cluster plane.ClusterName) error {
	if c.cfg.MaxBackends <= 0 {
		return nil
	}
	n, err := tx.CountLiveIn(cluster)
	if err != nil || n < c.cfg.MaxBackends {
		return err
	}
	e := plane.NewError(plane.LimitExceeded, fmt.Sprintf(
		"%s run, as many as --max-backends allows. End one (plane stop KEY), or start plane with a larger --max-backends.", count(n, "backend")))
	e.Status, e.Retry = 429, limitRetry
	return e
}
