package controller

import (
	"context"
	"sync"

	"plane"
	"plane/internal/store"
	"plane/internal/token"
)

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
