package drone

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/wire"
)

const (
	coalesce    = 8 * time.Millisecond // statuses that nobody waits for may share a message
	resendAfter = 10 * time.Second
	reportBatch = 256  // reports a message
	seqBlock    = 4096 // numbers reserved by one synced write
)

// outbox keeps reports until the controller has acknowledged them.
type outbox struct {
	journal *journal.Journal
	log     *slog.Logger
	reserve func(limit int64) error // makes sure that no report of a later agent has a number up to limit
	wake    chan struct{}           // there is something to send
	urgent  chan struct{}           // at once

	mu      sync.Mutex // guards the fields below
	seq     int64      // of the latest report
	limit   int64      // numbers up to it are reserved
	pending []pending  // by number
	sent    int64      // highest number sent on this connection
	empty   []chan struct{}
}

type pending struct {
	journal.Report
	sentAt time.Time
}

func newOutbox(j *journal.Journal, log *slog.Logger, reserve func(int64) error) *outbox {
	return &outbox{journal: j, log: log, reserve: reserve, wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1)}
}

// restore takes over what an earlier agent left unacknowledged. limit is what
// it had reserved: beyond the journal's reports it may have sent others that a
// power cut took.
func (o *outbox) restore(reports map[string]journal.Report, limit int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range reports {
		o.pending = append(o.pending, pending{Report: r})
		o.seq = max(o.seq, r.Seq)
	}
	slices.SortFunc(o.pending, func(a, b pending) int { return int(a.Seq - b.Seq) })
	o.limit = limit
	// Acknowledged reports have left the journal, so that the highest number
	// used isn't known; a fresh block costs nothing.
	o.seq = max(o.seq, limit)
}

// reserved notes that numbers up to limit are this agent's.
func (o *outbox) reserved(limit int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.limit = limit
}

// add numbers, records and queues a report, with further changes of the
// journal in the same write.
func (o *outbox) add(r journal.Report, now bool, with ...journal.Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seq >= o.limit {
		if err := o.reserve(o.seq + seqBlock); err != nil {
			o.log.Error("report numbers could not be reserved on disk", "error", err)
		}
		o.limit = o.seq + seqBlock
	}
	o.seq++
	r.Seq = o.seq
	with = append(with, journal.Change{Kind: journal.KindReport, Key: journal.ReportKey(r.Seq), Value: r})
	if err := o.journal.Apply(with...); err != nil {
		o.log.Error("state of a backend was not recorded on disk", "backend", r.Backend, "error", err)
	}
	o.pending = append(o.pending, pending{Report: r})
	signal(o.wake)
	if now {
		signal(o.urgent)
	}
}

// has reports whether an unacknowledged report says that the backend has ended.
func (o *outbox) has(id plane.BackendID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.pending, func(p pending) bool {
		return p.Backend == id && p.State.Status == plane.Terminated
	})
}

// done drops acknowledged reports and returns them.
func (o *outbox) done(seqs []int64) []journal.Report {
	o.mu.Lock()
	defer o.mu.Unlock()
	acked := make(map[int64]bool, len(seqs))
	for _, s := range seqs {
		acked[s] = true
	}
	var out []journal.Report
	var changes []journal.Change
	o.pending = slices.DeleteFunc(o.pending, func(p pending) bool {
		if !acked[p.Seq] {
			return false
		}
		out = append(out, p.Report)
		changes = append(changes, journal.Change{Kind: journal.KindReport, Key: journal.ReportKey(p.Seq)})
		return true
	})
	if len(changes) > 0 {
		if err := o.journal.Apply(changes...); err != nil {
			o.log.Error("acknowledged reports could not be dropped on disk", "error", err)
		}
	}
	o.emptyLocked()
	return out
}

// clear drops everything: it was for another store. It returns what there was.
func (o *outbox) clear() []journal.Report {
	o.mu.Lock()
	seqs := make([]int64, 0, len(o.pending))
	for _, p := range o.pending {
		seqs = append(seqs, p.Seq)
	}
	o.mu.Unlock()
	return o.done(seqs)
}

func (o *outbox) emptyLocked() {
	if len(o.pending) > 0 {
		return
	}
	for _, c := range o.empty {
		close(c)
	}
	o.empty = nil
}

// drained is closed when nothing is unacknowledged.
func (o *outbox) drained() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := make(chan struct{})
	o.empty = append(o.empty, c)
	o.emptyLocked()
	return c
}

// pump sends reports over one connection, in order, all unacknowledged ones
// first, until ctx is done or send fails.
func (o *outbox) pump(ctx context.Context, send func(wire.Message) error) error {
	o.mu.Lock()
	o.sent = 0
	o.mu.Unlock()
	again := time.NewTicker(resendAfter / 2)
	defer again.Stop()
	for {
		for {
			batch := o.next(time.Now())
			if len(batch) == 0 {
				break
			}
			if err := send(wire.Statuses{Reports: batch}); err != nil {
				return fmt.Errorf("send reports: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-o.wake:
			if err := o.gather(ctx); err != nil {
				return err
			}
		case <-again.C:
			o.rewind(time.Now())
		}
	}
}

// gather waits a little for more to send, unless someone waits for it.
func (o *outbox) gather(ctx context.Context) error {
	t := time.NewTimer(coalesce)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-o.urgent:
	case <-t.C:
	}
	return nil
}

func (o *outbox) next(now time.Time) []wire.Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	from, _ := slices.BinarySearchFunc(o.pending, o.sent+1, func(p pending, seq int64) int { return int(p.Seq - seq) })
	var batch []wire.Status
	for i := from; i < len(o.pending) && len(batch) < reportBatch; i++ {
		p := &o.pending[i]
		p.sentAt, o.sent = now, p.Seq
		batch = append(batch, wire.Status{Seq: p.Seq, Backend: p.Backend, Generation: p.Generation, State: p.State, AtMS: p.AtMS})
	}
	return batch
}

// rewind has everything sent again if the oldest has long been unanswered.
func (o *outbox) rewind(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) > 0 && o.pending[0].Seq <= o.sent && now.Sub(o.pending[0].sentAt) >= resendAfter {
		o.sent = 0
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
