package controller

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
)

const (
	secretPrefix = "pl_" // of API keys, so that secret scanners can find them
	loginLife    = 5 * time.Second
	loginMost    = 10_000 // remembered
)

// logins remembers API keys that were just seen, by the hash of their secrets.
type logins struct {
	mu     sync.Mutex // guards the fields below
	byHash map[[sha256.Size]byte]login
}

type login struct {
	actor Actor
	until time.Time
}

func (l *logins) find(hash [sha256.Size]byte, now time.Time) (Actor, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x, ok := l.byHash[hash]
	if !ok || now.After(x.until) {
		delete(l.byHash, hash)
		return Actor{}, false
	}
	return x.actor, true
}

func (l *logins) note(hash [sha256.Size]byte, a Actor, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.byHash) >= loginMost {
		clear(l.byHash)
	}
	l.byHash[hash] = login{a, now.Add(loginLife)}
}

func (l *logins) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.byHash)
}

// Authenticate finds the actor of an API key's secret; Unauthorized if there is
// none. A deleted key may be let in for some seconds by other controllers.
func (c *Controller) Authenticate(ctx context.Context, secret string) (Actor, error) {
	hash := sha256.Sum256([]byte(secret))
	now := time.Now()
	if a, ok := c.logins.find(hash, now); ok {
		return a, nil
	}
	var k store.APIKey
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		k, err = tx.APIKeyByHash(hash[:])
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && subtle.ConstantTimeCompare(k.Hash, hash[:]) != 1 {
		return Actor{}, plane.NewError(plane.Unauthorized, "This API key is not known.")
	}
	if err != nil {
		return Actor{}, fmt.Errorf("look up API key: %w", err)
	}
	a := Actor{Kind: "api-key", Name: k.ID, Grants: k.Grants}
	if a.Grants == nil {
		a.Grants = []string{} // nil would allow everything
	}
	c.logins.note(hash, a, now)
	return a, nil
}

// APIKeys lists the API keys, without secrets.
func (c *Controller) APIKeys(ctx context.Context, a Actor) ([]APIKeyView, error) {
	if err := a.May(VerbAPIKey, Everywhere); err != nil {
		return nil, err
	}
	out := []APIKeyView{}
	err := c.store.View(ctx, func(tx store.Tx) error {
		all, err := tx.APIKeys()
		out = make([]APIKeyView, 0, len(all))
		for _, k := range all {
			out = append(out, APIKeyView{ID: k.ID, Name: k.Name, Grants: k.Grants, CreatedAt: k.CreatedAt.UnixMilli()})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	return out, nil
}

// CreateAPIKey makes an API key; its secret is shown this once. Nobody can give
// it more than they may do themselves.
func (c *Controller) CreateAPIKey(ctx context.Context, a Actor, name string, grants []string) (APIKeyView, error) {
	if err := a.May(VerbAPIKey, Everywhere); err != nil {
		return APIKeyView{}, err
	}
	if len(name) > 128 {
		return APIKeyView{}, plane.Invalid("name", "name is longer than 128 bytes.")
	}
	if len(grants) == 0 {
		return APIKeyView{}, plane.Invalid("grants", "grants is empty; name what the key may do, for instance \"connect:team-a/*\".")
	}
	for _, g := range grants {
		if bad := checkGrant(g); bad != nil {
			return APIKeyView{}, bad
		}
		if !a.covers(g) {
			return APIKeyView{}, plane.NewError(plane.Forbidden, fmt.Sprintf("You can't give the grant %q, which you don't have.", g))
		}
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	secret := secretPrefix + base64.RawURLEncoding.EncodeToString(raw)
	hash := sha256.Sum256([]byte(secret))
	k := store.APIKey{ID: newName(plane.PrefixAPIKey), Name: name, Hash: hash[:], Grants: grants, Actor: a.String()}
	err := c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		k.CreatedAt = tx.Now()
		if err := tx.InsertAPIKey(k); err != nil {
			return err
		}
		return tx.InsertEvent(store.Event{
			Kind: "api-key", Actor: a.String(), RequestID: a.RequestID,
			Text: fmt.Sprintf("API key %s %q was made, for %v.", k.ID, name, grants),
		})
	})
	if err != nil {
		return APIKeyView{}, fmt.Errorf("create API key: %w", err)
	}
	c.hub.notify(topicEvents)
	return APIKeyView{ID: k.ID, Name: name, Grants: grants, CreatedAt: k.CreatedAt.UnixMilli(), Secret: secret}, nil
}

// DeleteAPIKey deletes an API key; NotFound if there is none.
func (c *Controller) DeleteAPIKey(ctx context.Context, a Actor, id string) error {
	if err := a.May(VerbAPIKey, Everywhere); err != nil {
		return err
	}
	deleted := false
	err := c.store.Update(context.WithoutCancel(ctx), func(tx store.Tx) (err error) {
		if deleted, err = tx.DeleteAPIKey(id); err != nil || !deleted {
			return err
		}
		return tx.InsertEvent(store.Event{
			Kind: "api-key", Actor: a.String(), RequestID: a.RequestID, Text: fmt.Sprintf("API key %s was deleted.", id),
		})
	})
	c.logins.clear()
	if err != nil {
		return fmt.Errorf("delete API key: %w", err)
	}
	if !deleted {
		return plane.NewError(plane.NotFound, "API key does not exist")
	}
	c.hub.notify(topicEvents)
	return nil
}
