package controller

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"plane"
	"plane/internal/store"
	"plane/internal/token"
	"plane/internal/wire"
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
	static := make([]byte, token.KeySize)
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
