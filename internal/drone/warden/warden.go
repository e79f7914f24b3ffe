// Package warden is the parent of process backends: it starts them, keeps their
// output and exit status, and enforces their deadlines. It is small and dull so
// that it need not change. Agents talk to it over a socket; the reaper holds
// duplicates of all it has and is there when it dies.
package warden

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
)

// DefaultLeave is how long warden and reaper stay with nothing to hold and no
// agent.
const DefaultLeave = 10 * time.Second

// Options of a warden.
type Options struct {
	Reaper []string        // the command that starts a reaper of this data directory
	Clock  leaseclock.Kind // of a table that has to be made; 0 = KindLease
	Leave  time.Duration   // 0 = DefaultLeave
	Log    *slog.Logger
}

// refusedFor is how long a stop is remembered whose start hasn't come yet.
const refusedFor = 2 * time.Minute

type warden struct {
	home  home.Home
	table *table.Table
	means *means.Means
	log   *slog.Logger
	opts  Options
	boot  string

	executioner *Executioner
	orphans     *means.Orphans
	heir        *heir
	leave       context.CancelCauseFunc

	established chan struct{} // closed once it is known what runs
	keepers     sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	instance  string
	backends  map[plane.BackendID]*backend
	keys      map[string]plane.BackendID
	ended     map[plane.BackendID]bool // not forgotten
	refused   map[plane.BackendID]time.Time
	agents    map[*peer]bool
	sandboxes map[string]*sandbox // prepared, not claimed
	idle      *time.Timer         // runs while there is nothing to do
	leaving   bool
}

var errLeave = errors.New("nothing is held and nobody asks")

// Main is the warden's process: it blocks until it has nothing to do any more
// (nil), is told to end (backends run on), or fails. home.ErrInUse if the data
// directory has a warden.
func Main(ctx context.Context, h home.Home, o Options) error {
	lock, err := h.LockWarden()
	if err != nil {
		return err
	}
	defer lock.Release()
	means.Withhold()
	defer means.Deaf()()
	if o.Clock == 0 {
		o.Clock = leaseclock.KindLease
	}
	if o.Leave == 0 {
		o.Leave = DefaultLeave
	}
	t, err := table.Create(h.TableFile(), o.Clock)
	if err != nil {
		return err
	}
	boot, err := leaseclock.BootID()
	if err != nil {
		return err
	}
	m := means.New(h.Hash(), o.Log)
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	w := &warden{
		home: h, table: t, means: m, log: o.Log, opts: o, boot: boot,
		executioner: &Executioner{Table: t, Means: m, Log: o.Log, Home: h, Wake: make(chan struct{}, 1)},
		orphans:     m.NewOrphans(),
		leave:       leave,
		established: make(chan struct{}),
		backends:    map[plane.BackendID]*backend{},
		keys:        map[string]plane.BackendID{},
		ended:       recorded(h),
		refused:     map[plane.BackendID]time.Time{},
		agents:      map[*peer]bool{},
		sandboxes:   map[string]*sandbox{},
	}
	w.heir = newHeir(w)
	return w.run(ctx)
}

func (w *warden) run(ctx context.Context) error {
	_ = os.Remove(w.home.WardenSocket()) // we hold the lock: it is a dead warden's
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.home.WardenSocket(), Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen for agents: %w", err)
	}
	w.log.Info("serving", "pid", os.Getpid(), "cgroups", w.means.Cgroups())
	g, gctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(gctx, func() { _ = l.Close() })
	defer stop()
	g.Go(func() error { return w.executioner.Run(gctx) })
	g.Go(func() error { return w.orphans.Run(gctx) })
	g.Go(func() error { return w.heir.keep(gctx) })
	g.Go(func() error { return w.accept(gctx, l) })
	err = g.Wait()
	w.keepers.Wait()
	if errors.Is(context.Cause(ctx), errLeave) {
		return nil
	}
	return err
}

func (w *warden) accept(ctx context.Context, l *net.UnixListener) error {
	var peers sync.WaitGroup
	defer peers.Wait()
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			w.log.Error("a connection can't be taken", "error", err) // out of descriptors, most likely
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		peers.Go(func() { w.serve(ctx, newConn(c, 5*time.Second)) })
	}
}

// establish ends the time in which it isn't known what runs. It is called once.
func (w *warden) establish(instance string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instance = instance
	close(w.established)
	w.touchLocked()
}

func newInstance() string { return rand.Text() }

// touchLocked starts or stops the time to leave, after a change of what is held
// or who asks.
func (w *warden) touchLocked() {
	busy := len(w.backends) > 0 || len(w.agents) > 0
	switch {
	case busy && w.idle != nil:
		w.idle.Stop()
		w.idle = nil
	case !busy && w.idle == nil:
		w.idle = time.AfterFunc(w.opts.Leave, w.leaveIfIdle)
	}
}

func (w *warden) leaveIfIdle() {
	w.mu.Lock()
	stay := len(w.backends) > 0 || len(w.agents) > 0 || w.leaving
	w.leaving = w.leaving || !stay
	w.mu.Unlock()
	if stay {
		return
	}
	w.log.Info("leaving: " + errLeave.Error())
	w.heir.tell(&message{Type: typeLeave})
	w.leave(errLeave)
}
