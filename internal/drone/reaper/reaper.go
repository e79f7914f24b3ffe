// Package reaper starts the warden, inherits its children if it dies, holds
// duplicates of their output pipes and pidfds, and enforces their deadlines
// whatever happens to the others. It is tiny so that it need never be replaced.
package reaper

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
	"plane/internal/drone/warden"
)

// Options of a reaper.
type Options struct {
	Warden []string        // the command that starts a warden of this data directory
	Clock  leaseclock.Kind // of a table that has to be made; 0 = KindLease
	Log    *slog.Logger
}

type reaper struct {
	home  home.Home
	opts  Options
	log   *slog.Logger
	table *table.Table
	means *means.Means

	executioner *warden.Executioner
	orphans     *means.Orphans
	watches     sync.WaitGroup

	// The fields below belong to the one goroutine that talks to the warden.
	instance string // of the wardens whose backends are held, "" = none yet
	holds    map[plane.BackendID]*hold
	child    chan struct{} // closed when our own warden has ended; nil = none was started
	failures int
}

// hold is a backend that is held, and the watch over its end.
type hold struct {
	bequest *warden.Bequest
	stop    context.CancelFunc // nil = not watched
	fresh   bool               // named since the warden began to name everything
}

// Main is the reaper's process: it blocks until the warden leaves (nil), it is
// told to end (everything runs on), or it fails. home.ErrInUse if the data
// directory has a reaper.
func Main(ctx context.Context, h home.Home, o Options) error {
	lock, err := h.LockReaper()
	if err != nil {
		return err
	}
	defer lock.Release()
	means.Withhold()
	defer means.Deaf()()
	if o.Clock == 0 {
		o.Clock = leaseclock.KindLease
	}
	t, err := table.Create(h.TableFile(), o.Clock)
	if err != nil {
		return err
	}
	m := means.New(h.Hash(), o.Log)
	r := &reaper{
		home: h, opts: o, log: o.Log, table: t, means: m,
		executioner: &warden.Executioner{Table: t, Means: m, Log: o.Log, Home: h, Wake: make(chan struct{}, 1)},
		orphans:     m.NewOrphans(),
		holds:       map[plane.BackendID]*hold{},
	}
	ctx, left := context.WithCancel(ctx)
	defer left()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.executioner.Run(gctx) })
	g.Go(func() error { return r.orphans.Run(gctx) })
	g.Go(func() error {
		defer left()
		defer r.watches.Wait()
		return r.attend(gctx)
	})
	return g.Wait()
}

// attend keeps a warden there until one says that it leaves.
func (r *reaper) attend(ctx context.Context) error {
	pause := time.Millisecond
	for ctx.Err() == nil {
		t, err := warden.Bequeath(ctx, r.home, r.instance, r.bequests())
		if err == nil {
			pause = time.Millisecond
			leave := r.listen(ctx, t)
			if leave {
				if r.await(ctx) {
					r.tidy()
				}
				return nil
			}
			continue
		}
		if _, held := r.home.Holder("warden"); !held && !r.running() {
			r.start(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 20*time.Millisecond)
	}
	return nil
}

func (r *reaper) bequests() []*warden.Bequest {
	all := make([]*warden.Bequest, 0, len(r.holds))
	for _, h := range r.holds {
		all = append(all, h.bequest)
	}
	return all
}

// listen does what the warden says until the connection ends.
func (r *reaper) listen(ctx context.Context, t *warden.Testament) (leave bool) {
	stop := context.AfterFunc(ctx, t.Close)
	defer stop()
	defer t.Release()
	defer t.Close()
	for {
		w, err := t.Next()
		if err != nil {
			if ctx.Err() == nil && !leave {
				r.log.Warn("the warden is gone", "error", err, "held", len(r.holds))
			}
			return leave
		}
		switch {
		case w.Hold != nil:
			r.hold(ctx, w.Hold)
			r.executioner.Look()
		case w.Drop != "":
			r.drop(w.Drop)
		case w.Begin != "":
			r.instance = w.Begin
			r.failures = 0
			for _, h := range r.holds {
				h.fresh = false
			}
		case w.All:
			for id, h := range r.holds {
				if !h.fresh {
					r.drop(id)
				}
			}
		case w.Leave:
			leave = true
		}
	}
}

func (r *reaper) hold(ctx context.Context, b *warden.Bequest) {
	id := b.Identity
	h := r.holds[id.Backend]
	if h == nil {
		h = &hold{bequest: b}
		r.holds[id.Backend] = h
	} else {
		h.bequest.Absorb(b)
	}
	h.fresh = true
	if h.bequest.Handle == nil || !h.bequest.Handle.Told() || h.stop != nil {
		return // without pidfds nothing is inherited either
	}
	watch, stop := context.WithCancel(ctx)
	h.stop = stop
	r.watches.Go(func() { r.watch(watch, id, h.bequest.Handle) })
}

func (h *hold) unwatch() {
	if h.stop != nil {
		h.stop()
	}
}

func (r *reaper) drop(id plane.BackendID) {
	if h := r.holds[id]; h != nil {
		h.unwatch()
		h.bequest.Close()
		delete(r.holds, id)
	}
}

// watch notes how a process ended that has become our child, and keeps it from
// being reaped until the warden has cleared its entry.
func (r *reaper) watch(ctx context.Context, id means.Identity, handle *means.Handle) {
	r.orphans.Own(id.Pid)
	defer r.orphans.Reaped(id.Pid)
	if r.means.Ended(ctx, handle) != nil {
		return // dropped: the warden has done it all
	}
	exit, mine, known := r.means.Status(handle)
	if !mine {
		return
	}
	if known {
		if err := warden.NoteStatus(r.home, id.Backend, exit); err != nil {
			r.log.Error("an exit status is lost", "backend", id.Backend, "error", err)
		}
	}
	<-ctx.Done()
	r.means.Reap(id.Pid)
}

// running reports whether a warden that we started is still there.
func (r *reaper) running() bool {
	if r.child == nil {
		return false
	}
	select {
	case <-r.child:
		return false
	default:
		return true
	}
}

// await gives a warden that leaves the time to do so, and reports whether it
// has left.
func (r *reaper) await(ctx context.Context) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		if _, held := r.home.Holder("warden"); !held {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return false
}

// tidy removes what is of use only while something runs. We still hold the lock
// without which no part starts, so nobody has opened it anew.
func (r *reaper) tidy() {
	if r.table.Used() == 0 {
		_ = os.Remove(r.home.TableFile())
		r.means.Tidy()
	}
}

// start starts a warden; one that keeps failing less and less often.
func (r *reaper) start(ctx context.Context) {
	if r.failures > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(time.Duration(r.failures)*100*time.Millisecond, 2*time.Second)):
		}
	}
	r.failures++
	forked := r.orphans.Starting()
	cmd, err := warden.Spawn(r.home, "warden", r.opts.Warden)
	if err != nil {
		forked(0)
		r.log.Error("no warden can be started", "error", err)
		return
	}
	forked(cmd.Process.Pid)
	done := make(chan struct{})
	r.child = done
	r.log.Info("started a warden", "pid", cmd.Process.Pid)
	go func() { // ends with the warden, which may outlive us
		defer close(done)
		_ = cmd.Wait()
		r.orphans.Reaped(cmd.Process.Pid)
	}()
}

// Ensure makes sure that a warden of h answers: it starts a reaper by argv if
// there is none, and waits until ctx ends. Its error says what the reaper
// complained of.
func Ensure(ctx context.Context, h home.Home, argv []string) error {
	var started *exec.Cmd
	ended := make(chan error, 1)
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		_, err := warden.Probe(ctx, h)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return silent(h, err)
		}
		if _, held := h.Holder("reaper"); !held && started == nil {
			if _, held := h.Holder("warden"); !held { // a warden starts its own reaper
				if started, err = warden.Spawn(h, "reaper", argv); err != nil {
					return err
				}
				go func() { ended <- started.Wait() }() // ends with the reaper, which may outlive us
			}
		}
		select {
		case <-ctx.Done():
			return silent(h, ctx.Err())
		case err := <-ended:
			started = nil
			if _, held := h.Holder("reaper"); err != nil && !held { // held: another one was quicker
				return fmt.Errorf("the reaper can't run: %w; see %s: %s", err, h.Log("reaper"), lastLine(h.Log("reaper")))
			}
		case <-time.After(pause):
		}
	}
}

func silent(h home.Home, err error) error {
	pid, held := h.Holder("warden")
	if held {
		return fmt.Errorf("the warden (process %d) doesn't answer; it may be stopped: kill -CONT %d: %w", pid, pid, err)
	}
	return fmt.Errorf("no warden answers; see %s: %w", h.Log("warden"), err)
}

func lastLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	const most = 500
	return string(b[max(0, len(b)-most):])
}
