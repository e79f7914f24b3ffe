package controller

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/token"
	"plane/internal/wire"
)

const (
	rotateEvery   = 10 * time.Minute // between looks
	keyLife       = 24 * time.Hour   // a key seals this long
	keyPublished  = time.Hour        // before it seals
	clusterSecret = token.KeySize
)

// ring is the token keys of one cluster, in both forms.
type ring struct {
	*token.Keyring
	wire wire.Keys
}

// rings are the token keys by cluster.
type rings struct {
	mu        sync.RWMutex // guards the fields below
	byCluster map[plane.ClusterName]*ring
}

// of is the keyring of a cluster; a nil *token.Keyring, which seals nothing,
// until ringOf was called for it.
func (r *rings) of(cluster plane.ClusterName) *token.Keyring {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if k := r.byCluster[cluster]; k != nil {
		return k.Keyring
	}
	return nil
}

func (r *rings) set(cluster plane.ClusterName, k *ring) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byCluster[cluster] = k
}

func (r *rings) clusters() []plane.ClusterName {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []plane.ClusterName
	for name := range r.byCluster {
		out = append(out, name)
	}
	return out
}

// ringOf is a cluster's keys; the first time they are read, and made if there are none.
func (c *Controller) ringOf(ctx context.Context, cluster plane.ClusterName) (*ring, error) {
	c.rings.mu.RLock()
	k := c.rings.byCluster[cluster]
	c.rings.mu.RUnlock()
	if k != nil {
		return k, nil
	}
	k, err := c.loadRing(ctx, cluster)
	if err != nil {
		return nil, fmt.Errorf("read token keys of %s: %w", cluster, err)
	}
	c.rings.set(cluster, k)
	return k, nil
}

func metaStatic(cluster plane.ClusterName) string { return "static_key/" + string(cluster) }
func metaOldest(cluster plane.ClusterName) string { return "oldest_key/" + string(cluster) }

func (c *Controller) loadRing(ctx context.Context, cluster plane.ClusterName) (*ring, error) {
	first, err := token.NewKey(1, rand.Reader)
	if err != nil {
		return nil, err
	}
	static := make([]byte, clusterSecret)
	_, _ = rand.Read(static)
	var k *ring
	read := func(tx store.Tx) (complete bool, err error) {
		keys, err := tx.TokenKeys(cluster)
		if err != nil {
			return false, err
		}
		text, err := tx.Meta(metaStatic(cluster))
		if len(keys) == 0 || errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		secret, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return false, fmt.Errorf("static key: %w", err)
		}
		oldest, err := oldestKey(tx, cluster)
		k = newRing(keys, oldest, secret)
		return true, err
	}
	complete := false
	err = c.store.View(ctx, func(tx store.Tx) (err error) { complete, err = read(tx); return err })
	if err != nil || complete {
		return k, err
	}
	err = c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		err := tx.InsertTokenKey(cluster, store.TokenKey{Number: first.Number, Secret: first.Secret, CreatedAt: tx.Now(), ActiveAt: tx.Now()})
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
		if _, err := tx.Meta(metaStatic(cluster)); errors.Is(err, store.ErrNotFound) {
			if err := tx.SetMeta(metaStatic(cluster), base64.StdEncoding.EncodeToString(static)); err != nil {
				return err
			}
		}
		_, err = read(tx)
		return err
	})
	return k, err
}

func oldestKey(tx store.Tx, cluster plane.ClusterName) (uint32, error) {
	text, err := tx.Meta(metaOldest(cluster))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}

func newRing(keys []store.TokenKey, oldest uint32, static []byte) *ring {
	k := &ring{wire: wire.Keys{OldestKey: oldest, StaticKey: static}}
	var own []token.Key
	for _, x := range keys {
		if x.Number < oldest {
			continue
		}
		own = append(own, token.Key{Number: x.Number, Secret: x.Secret, Active: x.ActiveAt})
		k.wire.Keys = append(k.wire.Keys, wire.TokenKey{Number: x.Number, Secret: x.Secret, ActiveMS: x.ActiveAt.UnixMilli()})
	}
	k.Keyring = token.NewKeyring(own, oldest, static)
	return k
}

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

// statics finds backends by their static token.
type statics struct {
	mu  sync.Mutex                 // guards the fields below
	ids map[string]plane.BackendID // by token.StaticHash
}

func (s *statics) add(tok string, id plane.BackendID) {
	if tok == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[token.StaticHash(tok)] = id
}

func (s *statics) find(hash string) (plane.BackendID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.ids[hash]
	return id, ok
}

func (s *statics) remove(tok string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ids, token.StaticHash(tok))
}

func (c *Controller) noteStatic(ctx context.Context, b store.Backend) error {
	if !b.Static {
		return nil
	}
	k, err := c.ringOf(ctx, b.Cluster)
	if err != nil {
		return err
	}
	c.statics.add(k.Static(b.ID), b.ID)
	return nil
}
