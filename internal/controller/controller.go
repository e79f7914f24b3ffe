package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/store"
)

// Controller decides. Its verbs may be called by many goroutines, before, while
// and after Run runs.
type Controller struct {
	cfg     Config
	log     *slog.Logger
	store   store.Store
	started time.Time

	live     *liveKeys
	hub      *hub
	rings    *rings
	statics  *statics
	drones   *droneSet
	proxies  *proxySet
	use      *useBook
	clock    *clockWatch
	logins   *logins
	routes   *withdrawals
	starting *startingRoutes
	apps     *appBook
	replaced *replacements
	served   *served

	frozen atomic.Int64 // instant of our own clock: nothing is granted before
}

// New makes a controller over its store and reads from it what a restart may
// forget. It starts nothing.
func New(ctx context.Context, cfg Config) (*Controller, error) {
	cfg = cfg.withDefaults()
	if cfg.Store == nil || cfg.Name == "" {
		return nil, errors.New("controller: Config needs Store and Name")
	}
	cfg.URL = statusBase(cfg.URL)
	x, ok := cfg.Store.(store.Exclusive)
	exclusive := ok && x.Exclusive()
	c := &Controller{
		cfg:      cfg,
		log:      cfg.Log.With("controller", cfg.Name),
		store:    cfg.Store,
		started:  time.Now(),
		live:     newLiveKeys(exclusive),
		hub:      &hub{},
		rings:    &rings{byCluster: map[plane.ClusterName]*ring{}},
		statics:  &statics{ids: map[string]plane.BackendID{}},
		drones:   &droneSet{byName: map[plane.NodeName]*droneSession{}},
		proxies:  &proxySet{byName: map[plane.NodeName]*proxySession{}, departed: map[plane.NodeName]departure{}},
		use:      &useBook{byID: map[plane.BackendID]*useEntry{}},
		clock:    &clockWatch{clock: cfg.Clock},
		logins:   &logins{byHash: map[[32]byte]login{}},
		routes:   &withdrawals{waiting: map[plane.BackendID]*withdrawal{}},
		starting: &startingRoutes{byID: map[plane.BackendID]*startingRoute{}},
		apps:     newAppBook(exclusive),
		replaced: &replacements{ids: map[plane.BackendID]struct{}{}},
		served:   &served{names: map[string]struct{}{}},
	}
	if err := c.recall(ctx, exclusive); err != nil {
		return nil, fmt.Errorf("start controller: %w", err)
	}
	cfg.Metrics.watch(c)
	return c, nil
}

// recall reads what is kept in memory beside the store.
func (c *Controller) recall(ctx context.Context, exclusive bool) error {
	if c.cfg.DefaultCluster != "" {
		if _, err := c.ringOf(ctx, c.cfg.DefaultCluster); err != nil {
			return err
		}
	}
	if err := c.recallFreeze(ctx); err != nil {
		return err
	}
	if exclusive {
		if err := c.disconnectAll(ctx); err != nil {
			return err
		}
	}
	if err := c.recallProxies(ctx); err != nil {
		return err
	}
	return c.eachLive(ctx, func(b store.Backend) error {
		if err := c.noteStatic(ctx, b); err != nil {
			return err
		}
		switch {
		case b.State.Status == plane.Ready:
			c.use.ready(b, time.Now())
		case b.State.Status.Order() < plane.Ready.Order():
			return c.store.View(ctx, func(tx store.Tx) error { return c.recallStarting(tx, b.ID) })
		}
		return nil
	})
}

// eachLive calls each for every backend that isn't terminated, outside of transactions.
func (c *Controller) eachLive(ctx context.Context, each func(store.Backend) error) error {
	var after plane.BackendID
	for {
		var page []store.Backend
		err := c.store.View(ctx, func(tx store.Tx) (err error) {
			page, err = tx.Backends(store.Filter{Live: true, After: after, Limit: pageLimit})
			return err
		})
		if err != nil {
			return err
		}
		for _, b := range page {
			if err := each(b); err != nil {
				return err
			}
			after = b.ID
		}
		if len(page) < pageLimit {
			return nil
		}
	}
}

const pageLimit = 1000

// Name is the controller's own.
func (c *Controller) Name() plane.NodeName { return c.cfg.Name }

// Run does the background work until ctx is done. Its loops survive errors of
// the store, so it returns nil.
func (c *Controller) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, work := range []func(context.Context){
		c.loop("heartbeat", heartbeatEvery, c.heartbeat),
		c.loop("database clock", clockSample, func(ctx context.Context) error { return c.clock.sample(ctx, c.store) }),
		c.loop("lapse", lapseEvery, c.sweepLapsed),
		c.loop("token keys", rotateEvery, c.rotate),
		c.loop("clean-up", c.cfg.cleanupPause(), c.cleanup),
		c.sweepIdle,
	} {
		wg.Go(func() { work(ctx) })
	}
	wg.Wait()
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	c.signOff(bye)
	return nil
}

const (
	probeTimeout = 10 * time.Second // of one round of a loop
	retryFirst   = 100 * time.Millisecond
	retryMost    = 5 * time.Second
)

// loop runs step at once and then every so often, until ctx is done. An error
// is logged and tried again with back-off: a database that was away must not
// end what depends on it.
func (c *Controller) loop(name string, every time.Duration, step func(context.Context) error) func(context.Context) {
	return func(ctx context.Context) {
		pause := retryFirst
		for {
			round, cancel := context.WithTimeout(ctx, probeTimeout)
			err := step(round)
			cancel()
			wait := every
			if err != nil && ctx.Err() == nil {
				c.log.Warn("background work failed; it is tried again", "work", name, "error", err)
				wait, pause = pause, min(2*pause, retryMost)
			} else {
				pause = retryFirst
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	}
}

// change runs fn as an Update that changes these backends. It always waits for
// the outcome: what is remembered of them would be wrong if a commit came
// after its caller had given up.
func (c *Controller) change(ctx context.Context, ids []plane.BackendID, fn func(store.Tx) error) error {
	done := c.live.changing(ids)
	defer done()
	return c.store.Update(context.WithoutCancel(ctx), fn)
}

func newName(p plane.Prefix) string { return plane.RandomName(rand.Reader, p) }
