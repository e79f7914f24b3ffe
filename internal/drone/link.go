package drone

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/wait"
	"plane/internal/wire"
)

const (
	unanswered    = 4 * time.Second // renewals without an answer, then another controller is tried
	maxRefusals   = 16
	sweepInterval = 10 * time.Second
)

// link is one connection to a controller.
type link struct {
	*session
	conn     *wire.Conn
	answered chan struct{} // a renewal moved the lease
	soon     chan struct{} // renew at once
	helpers  sync.WaitGroup
	refusals int // of renewals, one after another; for handle alone

	mu    sync.Mutex // guards the fields below
	logs  map[int64]context.CancelFunc
	execs map[int64]*execution
}

// run works until the connection ends or ctx is done.
func (l *link) run(ctx context.Context) error {
	work, cancel := context.WithCancelCause(ctx)
	defer l.helpers.Wait()
	defer cancel(nil)
	for _, part := range []func(context.Context) error{
		func(c context.Context) error {
			return l.conn.Run(c, func(m wire.Message) error { return l.handle(ctx, c, m) })
		},
		l.renew,
		func(c context.Context) error { return l.outbox.pump(c, l.conn.Send) },
		l.measure,
		l.tellPulls,
		func(c context.Context) error { return l.sweep(ctx, c) },
	} {
		l.helpers.Go(func() { cancel(part(work)) })
	}
	<-work.Done()
	return context.Cause(work)
}

// handle takes one message. It never waits for anything but the journal. life
// is the agent's context, work the connection's.
func (l *link) handle(life, work context.Context, m wire.Message) error {
	switch m := m.(type) {
	case wire.Renewed:
		return l.renewed(m)
	case wire.Spawn:
		acted := l.spawn(life, m)
		l.Metrics.refused(acted.Refusal)
		if acted.Refusal == "" && m.Grant.Policy == plane.Fast {
			signal(l.soon) // its lease may be nearly as old as it can be
		}
		err := l.conn.Send(acted)
		if acted.Refusal != "" {
			// Only what is reported is acknowledged, and the tombstone counts from there.
			l.reportLost(m.Backend, m.Generation)
		}
		return err
	case wire.Drain:
		l.drain(m.On)
		return nil
	case wire.Terminate:
		return l.conn.Send(l.terminate(m))
	case wire.Discard:
		l.helpers.Go(func() { l.discard(work, m) })
	case wire.StatusDone:
		l.acknowledged(life, l.outbox.done(m.Seqs))
	case wire.IdleAsk:
		l.askIdle(m)
	case wire.LogsAsk:
		l.sendLogs(work, m)
	case wire.LogsStop:
		l.stopLogs(m.ID)
	case wire.ExecAsk:
		l.exec(work, m)
	case wire.ExecPart:
		l.execPart(m)
	}
	return nil
}

// renew keeps the lease. Each attempt has its own number; one that isn't
// answered is followed by another.
func (l *link) renew(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for since := time.Now(); ; {
		// A late answer to an earlier attempt may still stand here; it did move
		// the lease, and the attempt that follows comes at its time.
		if err := l.conn.Send(l.keeper.attempt()); err != nil {
			return err
		}
		timer.Reset(plane.RetryRenewal)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			l.Metrics.renewal(renewalSilent)
			if len(l.ControllerURLs) > 1 && time.Since(since) > unanswered {
				return errors.New("renewals are not answered")
			}
			continue
		case <-l.answered:
		}
		l.rememberRenewal()
		timer.Reset(l.renewInterval())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		case <-l.soon:
		}
		since = time.Now()
		select { // of an earlier attempt, or of the same one twice
		case <-l.answered:
		default:
		}
	}
}

func (l *link) renewInterval() time.Duration {
	if l.roster.uses(plane.Fast) {
		return plane.Fast.Terms().Renew
	}
	return plane.Balanced.Terms().Renew
}

// rememberRenewal lets the next agent know how long the lease lasts. It is off
// the path that extends deadlines.
func (l *link) rememberRenewal() {
	h := l.keeper.get()
	if err := l.journal.Put(journal.KindRenewal, "", journal.Renewal{Boot: l.BootID, Number: h.Committed, SentAt: h.SentAt}); err != nil {
		l.Log.Error("renewal was not recorded on disk", "error", err)
	}
}

func (l *link) renewed(m wire.Renewed) error {
	l.Metrics.renewal(string(m.Outcome))
	if m.Outcome == wire.RenewalSuperseded {
		return ErrSuperseded
	}
	h := l.keeper.get()
	if m.Store.StoreID != h.Store.StoreID || m.Store.Number > h.Store.Number {
		return fmt.Errorf("the store has changed (epoch %d, was %d): the inventory must be given again", m.Store.Number, h.Store.Number)
	}
	switch m.Outcome {
	case wire.RenewalRefused:
		if l.refusals++; l.refusals > maxRefusals {
			return errors.New("renewals are refused although the epochs are current")
		}
		return l.raise(m.Epochs)
	case wire.RenewalOK:
		l.refusals = 0
		if m.Epochs != h.Epochs {
			return l.raise(m.Epochs) // the answer is to an attempt of other epochs
		}
		if _, moved := l.keeper.renewed(m.Number); moved {
			l.ready.Store(true)
			signal(l.answered)
		}
		return nil
	}
	return fmt.Errorf("unknown outcome %q of a renewal", m.Outcome)
}

// raise takes over newer epochs and ends what was granted in older ones.
func (l *link) raise(epochs plane.Epochs) error {
	h, lapsed := l.keeper.get().Raised(epochs)
	if len(lapsed) == 0 {
		return nil // of an attempt before the one that told us
	}
	l.Log.Warn("the lease has lapsed; what it had granted is ended", "policies", lapsed)
	if err := l.node.change(func(n *journal.Node) { n.Epochs = &h.Epochs }); err != nil {
		return fmt.Errorf("record epochs: %w", err)
	}
	l.keeper.raise(epochs)
	l.lapse()
	return nil
}

// sweep drops what has had its time and, with several controllers, moves on.
func (l *link) sweep(life, ctx context.Context) error {
	move := time.Now().Add(rebalance + rand.N(rebalance))
	for wait.For(ctx, sweepInterval) {
		l.expireTombstones()
		l.sweepGraves(life)
		l.sweepScratch()
		if len(l.ControllerURLs) > 1 && time.Now().After(move) {
			return errRebalance
		}
	}
	return context.Cause(ctx)
}
