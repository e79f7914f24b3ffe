package drone

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/wait"
	"plane/internal/wire"
)

const (
	dialTimeout    = 5 * time.Second
	welcomeTimeout = 15 * time.Second
	firstRetry     = 500 * time.Millisecond // the first reconnect comes within it
	lastRetry      = 3 * time.Second
	awaitPause     = time.Second      // between looks whether a former boot's lease has lapsed
	formerLease    = 52 * time.Second // Balanced.Terms().Store, and clocks that run 0.5 % apart
	rebalance      = 20 * time.Minute // with several controllers, a connection lasts one to two of it
)

var (
	errAwait       = errors.New("waiting for the lease of this machine's former boot to lapse, because a copy of its disk may run elsewhere")
	errRebalance   = errors.New("moving to another controller")
	errStoreOlder  = errors.New("the controller's store is older than one that this drone has served; see that the right store was restored")
	errClockNeeded = errors.New("the cluster has drones on other machines now: restart this part without the single-host clock")
)

// session keeps the drone connected to one of its controllers.
type session struct {
	*crew
	instance string
	ready    *atomic.Bool
	awaiting time.Time // since when the lease of a former boot is waited for; zero = not
}

// run connects again and again until ctx is done. Only what a person must mend
// is an error.
func (s *session) run(ctx context.Context) error {
	failures, at, last := 0, rand.IntN(len(s.ControllerURLs)), ""
	for {
		welcomed, err := s.serve(ctx, s.ControllerURLs[at])
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrSuperseded), errors.Is(err, errClockNeeded):
			return err
		}
		if welcomed {
			failures = 0
		}
		if text := err.Error(); welcomed || text != last {
			s.Log.Warn("no connection to the controller; trying again", "controller", s.ControllerURLs[at], "error", err)
			last = text
		}
		at = s.another(at)
		pause := retryPause(failures)
		if errors.Is(err, errAwait) {
			pause = awaitPause
		}
		if !wait.For(ctx, pause) {
			return nil
		}
		failures++
	}
}

// another is the index of a controller that isn't at, if there is one.
func (s *session) another(at int) int {
	n := len(s.ControllerURLs)
	if n == 1 {
		return 0
	}
	return (at + 1 + rand.IntN(n-1)) % n
}

// retryPause is drawn at random, so that not all drones come at once.
func retryPause(failures int) time.Duration {
	most := min(firstRetry<<min(failures, 8), lastRetry)
	return 10*time.Millisecond + rand.N(most-10*time.Millisecond)
}

// serve connects once, and works until the connection ends.
func (s *session) serve(ctx context.Context, base string) (welcomed bool, err error) {
	url, err := socketURL(base, s.Cluster, s.Pool)
	if err != nil {
		return false, err
	}
	header := s.Header.Clone()
	if key := bearer(base); key != "" {
		if header == nil {
			header = http.Header{}
		}
		header.Set("Authorization", "Bearer "+key)
	}
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := wire.Dial(dctx, url, s.HTTP, header)
	cancel()
	if err != nil {
		return false, err
	}
	defer conn.Close("drone leaves")

	hctx, cancel := context.WithTimeout(ctx, welcomeTimeout)
	defer cancel()
	if err := conn.Write(hctx, s.hello()); err != nil {
		return false, fmt.Errorf("write hello: %w", err)
	}
	m, err := conn.Read(hctx)
	if err != nil {
		return false, fmt.Errorf("read welcome: %w", err)
	}
	switch m := m.(type) {
	case wire.DroneWelcome:
		if err := s.welcome(m); err != nil {
			return false, err
		}
		s.Log.Info("connected to the controller", "controller", m.Controller)
	case wire.Goodbye:
		return false, fmt.Errorf("controller refuses this drone: %s", m.Reason)
	default:
		return false, fmt.Errorf("controller answers hello with %T", m)
	}
	l := &link{session: s, conn: conn, answered: make(chan struct{}, 1), soon: make(chan struct{}, 1), logs: map[int64]context.CancelFunc{}}
	return true, l.run(ctx)
}

func (s *session) hello() wire.DroneHello {
	node, h := s.node.get(), s.keeper.get()
	runtimes := slices.Sorted(maps.Keys(s.Runtimes))
	m := wire.DroneHello{
		Node: wire.Node{Protocol: wire.Version, Version: s.Version, Hash: s.Hash, Name: s.Name, Cluster: s.Cluster},
		Pool: s.Pool, BootID: s.BootID, Warden: s.WardenInstance(), Agent: s.instance,
		Runtimes: runtimes, RuntimesMissing: s.Missing, Commands: s.Commands,
		Attempt: h.Attempt, Epochs: node.Epochs, Joins: s.joins, Store: h.Store,
		Inventory: s.inventory(),
	}
	if s.SingleHost {
		m.SameHost = s.BootID
	}
	return m
}

// inventory is everything that runs here, or ended without acknowledgement.
func (c *crew) inventory() []wire.Held {
	held := []wire.Held{}
	runners := c.roster.all()
	c.roster.mu.Lock()
	defer c.roster.mu.Unlock()
	for _, r := range runners {
		if _, ended := c.roster.ended[r.id]; !ended {
			held = append(held, heldOf(r.id, r.record, r.now.Load().state))
		}
	}
	for id, e := range c.roster.ended {
		held = append(held, heldOf(id, e.record, e.state))
	}
	return held
}

func heldOf(id plane.BackendID, b journal.Backend, s plane.State) wire.Held {
	held := wire.Held{
		Backend: id, Key: b.Key, Generation: b.Generation, Policy: b.Policy, Epoch: b.Epoch, State: s,
		App: b.App, Release: b.Release, Spec: b.Spec,
	}
	if b.Volume != nil {
		held.Volume = b.Volume.ID
	}
	return held
}

// welcome takes over what the controller says of store and epochs. What must
// be remembered is on the disk before it counts.
func (s *session) welcome(w wire.DroneWelcome) error {
	if w.LeaseClock && s.SingleHost {
		return errClockNeeded
	}
	h := s.keeper.get()
	if h.Store.StoreID != "" && h.Store.StoreID != w.Store.StoreID {
		s.leaveStore(w)
		h = plane.Holding{Attempt: h.Attempt}
	}
	if w.Store.Number < h.Store.Number {
		return fmt.Errorf("%w (its epoch is %d, this drone has seen %d)", errStoreOlder, w.Store.Number, h.Store.Number)
	}
	if s.mustAwait(w) {
		if s.awaiting.IsZero() {
			s.awaiting = time.Now()
		}
		if time.Since(s.awaiting) < formerLease {
			return errAwait
		}
		// From our hello on nobody else can have renewed. The first renewal
		// will find the lapse and bring the new epochs.
	}
	if err := s.node.change(func(n *journal.Node) {
		n.Epochs, n.Store, n.Boot, n.Warden = &w.Epochs, w.Store, s.BootID, s.WardenInstance()
	}); err != nil {
		return fmt.Errorf("record epochs: %w", err)
	}
	h.Epochs, h.Store, h.Attempt = w.Epochs, w.Store, max(h.Attempt, w.Attempt)
	s.keeper.set(h)
	s.joins = false
	s.exorcise()
	s.lapse()
	for _, id := range w.Kill {
		if r := s.roster.get(id); r != nil {
			s.condemn(r, plane.KeyExpired)
		}
	}
	return nil
}

// leaveStore ends everything that another store had started here: the new one
// can't know of it, and the old one isn't there to be told.
func (s *session) leaveStore(w wire.DroneWelcome) {
	old := s.keeper.get().Store
	s.Log.Error("the controller has another store than before; everything that the former one had started here is ended",
		"former", old.StoreID, "now", w.Store.StoreID)
	for _, r := range s.roster.all() {
		s.condemn(r, plane.Lost)
	}
	for _, r := range s.outbox.clear() {
		s.ports.release(r.Port)
		s.ports.release(r.Ports...)
	}
	clear(s.ghosts)
}

// mustAwait reports whether epochs of a former boot are still current: a copy
// of this machine may hold them, so they are neither renewed nor ended by us.
func (s *session) mustAwait(w wire.DroneWelcome) bool {
	node := s.node.get()
	if node.Epochs == nil || node.Boot == s.BootID || s.joins || node.Store.StoreID != w.Store.StoreID {
		return false
	}
	held := map[plane.Policy]bool{plane.Fast: true, plane.Balanced: true}
	for _, p := range s.ghosts {
		held[p] = true
	}
	for p := range held {
		if w.Epochs.Of(p) == node.Epochs.Of(p) {
			return true
		}
	}
	return false
}

// exorcise forgets what a former boot ran: its epochs are over.
func (s *session) exorcise() {
	for id := range s.ghosts {
		_ = s.journal.Apply( // an error shows at the next change that matters
			journal.Change{Kind: journal.KindBackend, Key: string(id)},
			journal.Change{Kind: journal.KindProgress, Key: string(id)},
			journal.Change{Kind: journal.KindHolds, Key: string(id)},
		)
	}
	clear(s.ghosts)
}
