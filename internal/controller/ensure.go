package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/store"
)

const (
	actionSpawn     = "spawn"
	actionTerminate = "terminate"

	settleTime  = 3 * time.Second  // how long after a start of ours drones may take to come back
	pollWait    = time.Second      // between looks when a hint may have been missed
	claimTries  = 3                // as the contract has it
	limitRetry  = 5 * time.Second  // until another backend may have ended
	idleTimeout = 10 * time.Second // of an idle question, at most
)

// want is what a connect wants, checked.
type want struct {
	key    plane.Key
	known  bool        // the key was given; a random one is held by nobody
	starts bool        // false = only attach
	spec   *plane.Spec // what the caller says; nil = nothing
	port   string      // that its token is to lead to; "" = the main one
	app    *appNow     // what is started is this app's; nil = the caller's
}

// got is what it got.
type got struct {
	live    *liveKey
	drone   plane.NodeName // of a spawned one
	spawned bool
}

// ensure gets or starts the backend of a key. It waits, within waitLimit, for
// an older generation that is ending.
func (c *Controller) ensure(ctx context.Context, a Actor, w want) (got, error) {
	if w.known {
		if e := c.attachFast(w.key); e != nil {
			return got{live: e}, nil
		}
	}
	if g, ok, err := c.claimFirst(ctx, a, w); ok || err != nil {
		return g, err
	}
	waiting, cancel := context.WithTimeoutCause(ctx, waitLimit, errWaited)
	defer cancel()
	g, err := c.ensureWithin(waiting, a, w)
	var e *plane.Error
	if err != nil && ctx.Err() == nil && waiting.Err() != nil && !errors.As(err, &e) {
		e = plane.NewError(plane.Unavailable, fmt.Sprintf("The key could not be had within %d s; try again.", int(waitLimit.Seconds())))
		e.Retry = time.Second
		return got{}, e
	}
	return g, err
}

func (c *Controller) ensureWithin(ctx context.Context, a Actor, w want) (got, error) {
	races := 0
	for {
		g, again, err := c.tryEnsure(ctx, a, w)
		if err == nil && again == nil {
			return g, nil
		}
		if err != nil {
			return got{}, err
		}
		if again.race {
			if races++; races >= claimTries*10 {
				return got{}, plane.NewError(plane.FailedToAcquireKey, "Failed to acquire lock.")
			}
			continue
		}
		if err := again.wait(ctx); err != nil {
			return got{}, err
		}
	}
}

var errWaited = errors.New("waited long enough")

// again says why ensure must look once more: at once after a race, or after
// something happened.
type again struct {
	race bool
	wait func(context.Context) error
}

// attachFast is a connect to a live key that touches no store, or nil.
func (c *Controller) attachFast(k plane.Key) *liveKey {
	e := c.live.find(placeOf(k))
	if e == nil || e.key.Tag != k.Tag || !c.drones.heard(e) || c.use.claim(e.backend) != nil {
		return nil
	}
	return e
}

// claimFirst claims a key that isn't remembered as live without looking first:
// most such keys are new, and the claim looks anyway. ok is false if there is
// more to it.
func (c *Controller) claimFirst(ctx context.Context, a Actor, w want) (g got, ok bool, err error) {
	if c.live.off || !w.starts || !w.known {
		return got{}, false, nil
	}
	g, again, err := c.claim(ctx, a, w, facts{})
	switch {
	case again != nil || plane.IsKind(err, plane.NoDroneAvailable) || plane.IsKind(err, plane.UnsupportedExecutable) ||
		plane.IsKind(err, plane.NoClusterProvided) || plane.IsKind(err, plane.BadRequest) ||
		plane.IsKind(err, plane.DataUnavailable) || plane.IsKind(err, plane.LimitExceeded):
		return got{}, false, nil // none of these matters if the key is held
	case err != nil:
		return got{}, false, err
	}
	return g, true, nil
}

func (c *Controller) tryEnsure(ctx context.Context, a Actor, w want) (got, *again, error) {
	f, v := facts{}, vacant
	if w.known {
		var version uint64
		var err error
		if f, v, version, err = c.look(ctx, w.key); err != nil {
			return got{}, nil, err
		}
		switch v {
		case attached:
			return c.attach(f, version)
		case mismatch:
			return got{}, nil, plane.NewError(plane.KeyHeld, "Lock is held but tag does not match.")
		case ending:
			return got{}, &again{wait: c.untilEnded(f.backend)}, nil
		case silent:
			return got{}, &again{wait: c.untilHeard(f)}, nil
		}
	}
	if !w.starts {
		return got{}, nil, plane.NewError(plane.KeyUnheldNoSpawnConfig, "Lock is unheld but no spawn config was provided.")
	}
	return c.claim(ctx, a, w, f)
}

// look reads a key and judges what it finds. The version goes with attach.
func (c *Controller) look(ctx context.Context, k plane.Key) (facts, verdict, uint64, error) {
	var (
		f       facts
		v       verdict
		version uint64
		now     time.Time
	)
	read := func() error {
		return c.store.View(ctx, func(tx store.Tx) (err error) {
			f, err = readFacts(tx, placeOf(k))
			if err != nil {
				return err
			}
			now = tx.Now()
			v = judge(f, k.Tag, now, c.clock.lapsed)
			return nil
		})
	}
	if err := read(); err != nil {
		return f, v, 0, fmt.Errorf("look up key: %w", err)
	}
	if f.held && !c.live.off {
		// What is remembered must have been read after its version.
		id := f.backend.ID
		version = c.live.version(id)
		if err := read(); err != nil {
			return f, v, 0, fmt.Errorf("look up key: %w", err)
		}
		if f.held && f.backend.ID != id {
			version = 0
		}
	}
	if f.held && (v == attached || v == mismatch || v == silent) && c.live.isDoomed(f.backend.ID) {
		v = ending
	}
	if v == silent && c.drones.heardFrom(f.backend.Drone, f.backend.Policy) {
		v = attached // the database's clock stepped; our own says that it renewed
	}
	return f, v, version, nil
}

// attach hands out a live backend, unless it is being asked whether it may stop.
func (c *Controller) attach(f facts, version uint64) (got, *again, error) {
	if settled := c.use.claim(f.backend.ID); settled != nil {
		return got{}, &again{wait: func(ctx context.Context) error {
			select {
			case <-settled:
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(idleTimeout):
			}
			return nil
		}}, nil
	}
	e := c.liveKeyOf(f.backend)
	if e.drone != nil && version != 0 {
		c.live.fill(e, version)
	}
	return got{live: e}, nil, nil
}

func (c *Controller) liveKeyOf(b store.Backend) *liveKey {
	return &liveKey{
		key:        b.Key,
		backend:    b.ID,
		generation: b.Generation,
		cluster:    b.Cluster,
		app:        b.App,
		release:    b.Release,
		access:     c.accessOf(b.Spec),
		ports:      b.Spec.Ports,
		subdomain:  b.Subdomain,
		static:     b.Static,
		policy:     b.Policy,
		status:     b.State.Status,
		revocation: b.Revocation,
		drone:      c.drones.session(b.Drone),
	}
}

// untilEnded waits for a backend's end, or for a reason to look again.
func (c *Controller) untilEnded(b store.Backend) func(context.Context) error {
	return func(ctx context.Context) error {
		hint, stop := c.hub.subscribe(topic(b.ID))
		defer stop()
		// It may have ended before the subscription.
		if now, err := c.backend(ctx, b.ID); err != nil || now.State.Status == plane.Terminated {
			return err
		}
		select {
		case <-hint:
		case <-time.After(pollWait):
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errWaited) {
				e := plane.NewError(plane.Unavailable, fmt.Sprintf(
					"The key's last backend, %s, has been ending for more than %d s; try again.", b.ID, int(waitLimit.Seconds())))
				e.Retry = time.Second
				return e
			}
			return context.Cause(ctx)
		}
		return nil
	}
}

// untilHeard waits a little for the drone of a held key, if it may just be
// reconnecting; then it says that the key is held and can't be reached.
func (c *Controller) untilHeard(f facts) func(context.Context) error {
	return func(ctx context.Context) error {
		left := time.Until(c.started.Add(settleTime))
		if left > 0 {
			return c.untilDrone(left)(ctx)
		}
		e := plane.NewError(plane.KeyHeldUnhealthy, fmt.Sprintf(
			"Lock is held but unhealthy: drone %s can't be reached and its lease still runs.", f.backend.Drone))
		e.Retry = time.Second
		return e
	}
}

// untilDrone waits, at most so long, until a drone becomes ready.
func (c *Controller) untilDrone(most time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		hint, stop := c.hub.subscribe(topicDrones)
		defer stop()
		select {
		case <-hint:
		case <-time.After(min(most, 200*time.Millisecond)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return nil
	}
}
