package controller

import (
	"context"
	"fmt"
	"sync"

	"plane"
	"plane/internal/store"
)

// served are the apps that were applied to this process. With OnlyApplied there
// are no others: the store may have those of an earlier `plane dev`.
type served struct {
	mu    sync.Mutex // guards names
	names map[string]struct{}
}

func (s *served) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name] = struct{}{}
}

func (s *served) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, name)
}

func (s *served) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.names[name]
	return ok
}

// serves reports whether an app's keys are started here, and the app is shown.
func (c *Controller) serves(name string) bool { return !c.cfg.OnlyApplied || c.served.has(name) }

// servedApp is appOf for who wants to start it; one that isn't served is
// store.ErrNotFound.
func (c *Controller) servedApp(ctx context.Context, name string) (*appNow, error) {
	if !c.serves(name) {
		return nil, store.ErrNotFound
	}
	return c.appOf(ctx, name)
}

// Withdraw makes an app no longer served, until it is applied again. Its
// releases and data stay.
func (c *Controller) Withdraw(name string) { c.served.remove(name) }

// EndUnserved ends, softly, the backends of apps that aren't served, and gives
// their keys.
func (c *Controller) EndUnserved(ctx context.Context, a Actor) ([]plane.Key, error) {
	var rows []store.App
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		rows, err = tx.Apps()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list apps: %w", err)
	}
	var keys []plane.Key
	for _, row := range rows {
		if c.serves(row.Name) {
			continue
		}
		if err := a.May(VerbApp, row.Name); err != nil {
			return keys, err
		}
		text := fmt.Sprintf("%s isn't served any more.", sentenceCase(calledApp(row.Name)))
		ended, err := c.endOf(ctx, a, row.Name, text, func(store.Backend) bool { return true })
		keys = append(keys, ended...)
		if err != nil {
			return keys, err
		}
	}
	return keys, nil
}
