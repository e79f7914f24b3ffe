package drone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/drone/volume"
)

const (
	hardEnd   = 10 * time.Second // EndAll waits for SIGKILL to work
	lastWords = 2 * time.Second  // EndAll waits for the reports to be acknowledged
)

// Agent serves one drone.
type Agent struct {
	cfg      Config
	instance string
	ready    atomic.Bool
	crew     atomic.Pointer[crew] // while Run runs
}

// New makes an agent; it starts nothing.
func New(cfg Config) (*Agent, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("drone: %w", err)
	}
	a := &Agent{cfg: cfg, instance: plane.RandomName(rand.Reader, plane.NoPrefix)}
	cfg.Metrics.watch(a)
	return a, nil
}

// Ready reports whether what ran before has been taken over and a controller
// has renewed the lease at least once: starts are accepted.
func (a *Agent) Ready() bool { return a.ready.Load() }

// Run serves until ctx is done, or fails. Then it detaches: backends run on,
// until the deadlines that it has set, and the next agent on the same data
// directory takes them over. The caller holds the lock of the data directory.
// ErrSuperseded if a newer agent has the drone's name. Run it once.
func (a *Agent) Run(ctx context.Context) error {
	j, err := journal.Open(a.cfg.Home.Journal())
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }()
	ctx, stop := context.WithCancel(ctx)
	c := newCrew(&a.cfg, j)
	defer c.doors.close() // when no runner is left that could open one
	defer c.tasks.Wait()
	defer stop()
	if err := c.adopt(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	c.tasks.Go(func() { c.weigh(ctx) })
	a.crew.Store(c)
	defer a.crew.Store(nil)
	s := &session{crew: c, instance: a.instance, ready: &a.ready}
	return s.run(ctx)
}

// EndAll ends every backend, softly and after its grace hard, and waits until
// nothing is left and the controller knows, if it can be reached. When ctx is
// done it ends what is left at once. From its call on no spawn is accepted. It
// works only while Run runs.
func (a *Agent) EndAll(ctx context.Context) error {
	c := a.crew.Load()
	if c == nil {
		return ErrNotRunning
	}
	c.roster.close()
	stopAll := func(kind plane.StopKind) {
		for _, r := range c.roster.all() {
			r.tell(plane.Event{Kind: plane.EventStop, Stop: kind, Reason: plane.External})
		}
	}
	stopAll(plane.Soft)
	empty := c.roster.empty()
	select {
	case <-empty:
	case <-ctx.Done():
		stopAll(plane.Hard)
		select {
		case <-empty:
		case <-time.After(hardEnd):
			return errors.New("some backends could not be ended; their deadlines end them")
		}
	}
	if !a.Ready() {
		return nil // nobody was ever there to hear it
	}
	select {
	case <-c.outbox.drained():
	case <-time.After(lastWords):
	}
	// Nothing is kept for which a warden would have to stay.
	fctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	c.forget(fctx, c.graves.expired(time.Now()))
	return nil
}

// crew is what works together during one Run.
type crew struct {
	*shared
	roster *roster
	node   *ledger
	graves graves
	tasks  sync.WaitGroup // runners, and what else outlives a connection

	// Written by adopt, then by the session alone.
	joins  bool                             // nothing runs here any more of what the ledger's epochs granted
	ghosts map[plane.BackendID]plane.Policy // of an earlier boot; a copy of this machine may run them
}

func newCrew(cfg *Config, j *journal.Journal) *crew {
	c := &crew{
		roster: newRoster(),
		node:   &ledger{journal: j},
		ghosts: map[plane.BackendID]plane.Policy{},
	}
	offset := fnv.New32a()
	_, _ = offset.Write([]byte(cfg.Home.Dir))
	n := cfg.Ports.Last - cfg.Ports.First + 1
	c.shared = &shared{
		Config:  cfg,
		keeper:  &keeper{clock: cfg.Clock, table: cfg.Table},
		outbox:  newOutbox(j, cfg.Log, func(limit int64) error { return c.node.change(func(n *journal.Node) { n.SeqLimit = limit }) }),
		journal: j,
		ports:   newPorts(cfg.Ports, int(offset.Sum32()%uint32(n))),
		doors:   newDoors(cfg.Home, cfg.Log),
		shelf:   &shelf{Shelf: volume.NewShelf(cfg.Home)},
		pulls:   make(chan struct{}, 1),
		freed:   c.roster.free,
		ended:   c.roster.end,
	}
	return c
}

// launch gives a backend its goroutine.
func (c *crew) launch(ctx context.Context, r *runner) {
	c.tasks.Go(func() { r.run(ctx) })
}

// tombstone says that a backend will never start here.
func (c *crew) tombstone(p plane.Policy, why plane.Refusal) journal.Tombstone {
	return journal.Tombstone{Boot: c.BootID, Until: c.Clock.Now().Add(p.TombstoneLife()), Refusal: why}
}

// lapse ends every backend of an epoch that isn't current.
func (c *crew) lapse() {
	h := c.keeper.get()
	for _, r := range c.roster.all() {
		if r.record.Epoch != h.Epochs.Of(r.record.Policy) {
			c.condemn(r, plane.KeyExpired)
		}
	}
}

// condemn ends a backend at once, and has the executioners do so if the agent can't.
func (c *crew) condemn(r *runner, why plane.Reason) {
	c.Table.Shorten(r.id, c.Clock.Now())
	r.tell(plane.Event{Kind: plane.EventStop, Stop: plane.Hard, Reason: why})
}

// ledger is the drone's own record; every change of it is synced.
type ledger struct {
	journal *journal.Journal

	mu   sync.Mutex // guards the field below
	node journal.Node
}

func (l *ledger) get() journal.Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.node
}

// change alters the record and returns once that survives a power cut; on an
// error nothing has changed.
func (l *ledger) change(alter func(*journal.Node)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.node
	alter(&next)
	if err := l.journal.Put(journal.KindNode, "", next); err != nil {
		return err
	}
	if err := l.journal.Sync(); err != nil {
		return err
	}
	l.node = next
	return nil
}
