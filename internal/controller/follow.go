package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

func entryOf(s plane.State, at time.Time) StatusEntry {
	e := StatusEntry{Status: s.Status, Time: at.UnixMilli()}
	if s.Status.Ending() {
		e.TerminationReason, e.TerminationKind = s.Reason, s.Termination
	}
	if s.Status == plane.Terminated {
		failed := s.ExitError()
		e.ExitError = &failed
		if s.Reason != plane.External { // who asked knows
			e.Message = endSentence(s)
		}
	}
	return e
}

// Status is a backend's latest status.
func (c *Controller) Status(ctx context.Context, id plane.BackendID) (StatusEntry, error) {
	b, err := c.backend(ctx, id)
	if err != nil {
		return StatusEntry{}, err
	}
	return entryOf(b.State, b.StateAt), nil
}

// Follow gives a backend's statuses later than after ("" = all) to each, in
// order and without gaps, first those of the past; it returns nil after
// terminated, and each's error if there is one.
func (c *Controller) Follow(ctx context.Context, id plane.BackendID, after plane.Status, each func(StatusEntry) error) error {
	return c.FollowProgress(ctx, id, after, each, nil)
}

// FollowProgress is Follow, and gives to tell how far the preparation of the
// backend has come, the latest first, while it lasts. Both are called one at a time.
func (c *Controller) FollowProgress(ctx context.Context, id plane.BackendID, after plane.Status, each func(StatusEntry) error, tell func(plane.Pull) error) error {
	hint, stop := c.hub.subscribe(topic(id))
	defer stop()
	var told pulls
	if tell != nil {
		moved, stop := c.hub.subscribe(topicProgress(id))
		defer stop()
		told = pulls{moved: moved, tell: tell}
	}
	last, first := after.Order(), true
	for {
		steps, err := c.history(ctx, id)
		if errors.Is(err, store.ErrNotFound) && first {
			return errNoBackend()
		}
		if errors.Is(err, store.ErrNotFound) {
			return nil // ended and cleaned up
		}
		if err != nil {
			return fmt.Errorf("read history: %w", err)
		}
		first = false
		for _, s := range steps {
			if s.State.Status.Order() <= last {
				continue
			}
			last = s.State.Status.Order()
			if err := each(entryOf(s.State, s.At)); err != nil {
				return err
			}
		}
		if last >= plane.Terminated.Order() {
			return nil
		}
		if err := c.untilHint(ctx, id, hint, &told); err != nil {
			return err
		}
	}
}

// pulls is what one follower is told of a preparation.
type pulls struct {
	moved <-chan struct{} // nil = nothing
	tell  func(plane.Pull) error
	last  *plane.Pull
}

// untilHint waits until there may be another status, and tells of progress meanwhile.
func (c *Controller) untilHint(ctx context.Context, id plane.BackendID, hint <-chan struct{}, told *pulls) error {
	poll := time.NewTimer(pollWait)
	defer poll.Stop()
	for {
		if p := c.starting.pull(id); told.moved != nil && p != nil && p != told.last {
			told.last = p
			if err := told.tell(*p); err != nil {
				return err
			}
		}
		select {
		case <-hint:
			return nil
		case <-poll.C:
			return nil
		case <-told.moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *Controller) history(ctx context.Context, id plane.BackendID) ([]store.Step, error) {
	var steps []store.Step
	err := c.store.View(ctx, func(tx store.Tx) (err error) {
		if steps, err = tx.History(id); err != nil {
			return err
		}
		if len(steps) == 0 {
			_, err = tx.Backend(id)
		}
		return err
	})
	return steps, err
}
