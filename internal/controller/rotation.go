package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/token"
)

const (
	rotateEvery  = 10 * time.Minute // between looks
	keyLife      = 24 * time.Hour   // a key seals this long
	keyPublished = time.Hour        // before it seals
)

// rotation is what is to be done to a cluster's keys.
type rotation struct {
	add  *store.TokenKey // without Secret
	drop []uint32
}

// planRotation: a key seals for keyLife and its successor is published
// keyPublished before it does; a key goes when no live backend is older than
// its successor's use, so that none of its tokens can be good.
func planRotation(keys []store.TokenKey, oldestLive, now time.Time) rotation {
	var r rotation
	if len(keys) == 0 {
		return r
	}
	newest := keys[len(keys)-1]
	if end := newest.ActiveAt.Add(keyLife); !now.Before(end.Add(-keyPublished)) {
		active := now.Add(keyPublished)
		if end.After(active) {
			active = end
		}
		r.add = &store.TokenKey{Number: newest.Number + 1, CreatedAt: now, ActiveAt: active}
	}
	for i, k := range keys[:len(keys)-1] {
		// The margin is for controllers' clocks, which decide what seals.
		if used := keys[i+1].ActiveAt.Add(keyPublished); now.After(used) && (oldestLive.IsZero() || oldestLive.After(used)) {
			r.drop = append(r.drop, k.Number)
		}
	}
	return r
}

// rotate looks after the keys of all clusters that are known here.
func (c *Controller) rotate(ctx context.Context) error {
	var errs []error
	for _, cluster := range c.rings.clusters() {
		errs = append(errs, c.rotateCluster(ctx, cluster))
	}
	return errors.Join(errs...)
}

func (c *Controller) rotateCluster(ctx context.Context, cluster plane.ClusterName) error {
	oldest, err := c.oldestLive(ctx, cluster)
	if err != nil {
		return err
	}
	fresh, err := token.NewKey(0, rand.Reader)
	if err != nil {
		return err
	}
	changed := false
	err = c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		changed = false
		keys, err := tx.TokenKeys(cluster)
		if err != nil {
			return err
		}
		r := planRotation(keys, oldest, tx.Now())
		if r.add != nil {
			r.add.Secret = fresh.Secret
			if err := tx.InsertTokenKey(cluster, *r.add); err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
			changed = true
		}
		for _, n := range r.drop {
			if err := tx.DeleteTokenKey(cluster, n); err != nil {
				return err
			}
			changed = true
		}
		return nil
	})
	if err != nil || !changed && !c.live.off {
		return err
	}
	return c.reloadRing(ctx, cluster)
}

// reloadRing reads a cluster's keys again and tells its proxies.
func (c *Controller) reloadRing(ctx context.Context, cluster plane.ClusterName) error {
	k, err := c.loadRing(ctx, cluster)
	if err != nil {
		return err
	}
	c.rings.set(cluster, k)
	for _, s := range c.proxies.of(cluster) {
		_ = s.conn.Send(k.wire) // a connection that has ended gets them with its next welcome
	}
	return nil
}

// oldestLive is when the oldest live backend of a cluster was made; zero if there is none.
func (c *Controller) oldestLive(ctx context.Context, cluster plane.ClusterName) (time.Time, error) {
	var oldest time.Time
	err := c.eachLive(ctx, func(b store.Backend) error {
		if b.Cluster == cluster && (oldest.IsZero() || b.CreatedAt.Before(oldest)) {
			oldest = b.CreatedAt
		}
		return nil
	})
	return oldest, err
}

// startOver makes a new key that seals at once and refuses all tokens of older
// ones: a proxy that held them is compromised.
func (c *Controller) startOver(ctx context.Context, cluster plane.ClusterName) error {
	fresh, err := token.NewKey(0, rand.Reader)
	if err != nil {
		return err
	}
	err = c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		keys, err := tx.TokenKeys(cluster)
		if err != nil {
			return err
		}
		next := uint32(1)
		for _, k := range keys {
			next = max(next, k.Number+1)
		}
		err = tx.InsertTokenKey(cluster, store.TokenKey{Number: next, Secret: fresh.Secret, CreatedAt: tx.Now(), ActiveAt: tx.Now()})
		if err != nil {
			return err
		}
		return tx.SetMeta(metaOldest(cluster), strconv.FormatUint(uint64(next), 10))
	})
	if err != nil {
		return fmt.Errorf("start token keys over: %w", err)
	}
	return c.reloadRing(ctx, cluster)
}
