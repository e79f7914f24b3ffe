package drone

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"plane"
	"plane/internal/drone/journal"
	"plane/internal/runtime"
	"plane/internal/wire"
)

// shared is what all runners of an agent use.
type shared struct {
	*Config
	keeper  *keeper
	outbox  *outbox
	journal *journal.Journal
	ports   *ports
	doors   *doors
	shelf   *shelf
	pulls   chan struct{}              // with room for one: a runner has progress to tell
	freed   func(*runner, plane.State) // nothing of its backend is left
	ended   func(*runner)              // and that has been recorded
}

// runner owns one backend. Its goroutine alone applies events; everything slow
// is done by helpers, which can only put notes into its mailbox.
type runner struct {
	*shared
	id      plane.BackendID
	record  journal.Backend
	exec    plane.Executable
	runtime runtime.Runtime // nil = this drone has none for it
	refused string          // why it can't run here, or ""
	mail    mailbox
	holds   *holds
	stream  *stream
	log     *slog.Logger
	now     atomic.Pointer[glance]
	warning atomic.Pointer[string]
	data    dataState
	weight  weight
	used    metered
	pull    atomic.Pointer[wire.Progress] // that wasn't told yet
	bounded atomic.Bool                   // writes beyond its disk limit fail
	guests  guests

	course
}

// course is how far a runner has come. It belongs to the goroutine of run.
type course struct {
	state    plane.State
	given    portSet
	portless error // why none were given
	readyAt  plane.Instant
	stageAt  plane.Instant // when the time limit of the state began to count
	expired  plane.Instant // its deadline, if that had passed when this agent began; else 0
	process  runtime.Process
	starting bool // a start is under way; its result will come
	work     context.CancelFunc
	followed chan struct{} // closed when all output has been shown; nil = none is
	helpers  sync.WaitGroup
}

// glance is what others may see of a runner.
type glance struct {
	state   plane.State
	process runtime.Process
	given   portSet
}

func newRunner(s *shared, id plane.BackendID, b journal.Backend, p journal.Progress, h journal.Holds) *runner {
	r := &runner{
		shared: s, id: id, record: b,
		course: course{state: p.State, given: portsOf(p), readyAt: p.ReadyAt, stageAt: b.AcceptedAt},
		stream: &stream{},
		log:    logOf(s.Log, id, b.Key, b.Generation, b.Request),
		mail:   mailbox{ready: make(chan struct{}, 1)},
	}
	r.holds = &holds{id: id, journal: s.journal, clock: s.Clock, held: h}
	x, err := plane.ParseExecutable(b.Spec.Executable)
	r.exec = x
	if err != nil {
		r.refused = err.Message
	}
	r.runtime = s.Runtimes[cmp.Or(b.Runtime, s.choose(x))]
	if x.Kind() == plane.KindImage {
		r.given = insidePorts(x, b.Spec.Ports)
	}
	switch {
	case r.refused != "":
	case r.runtime == nil:
		r.refused = s.lacks(x)
	case x.Kind() == plane.KindProcess && b.App == "" && !s.Commands:
		r.refused = "This drone runs only the commands of apps; start it with --allow-commands to run those of callers."
	}
	if bad := checkPorts(x, b.Spec.Ports); bad != nil && r.refused == "" {
		r.refused = bad.Error()
	}
	r.holdData()
	r.now.Store(&glance{state: p.State})
	return r
}

// logOf names a backend in each line: by its request it can be followed from
// the caller through all parts.
func logOf(log *slog.Logger, id plane.BackendID, key plane.Key, g plane.Generation, request string) *slog.Logger {
	log = log.With("key", key.String(), "backend", id, "generation", g)
	if request != "" {
		log = log.With("request", request)
	}
	return log
}

// tell gives the runner an event.
func (r *runner) tell(e plane.Event) { r.mail.put(note{event: e}) }

// run works until the backend has ended or ctx is done. In the latter case the
// backend goes on without it.
func (r *runner) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer r.helpers.Wait()
	defer cancel()
	r.resume(ctx)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for r.state.Status != plane.Terminated {
		timer.Reset(r.untilDue())
		select {
		case <-ctx.Done():
			return
		case <-r.mail.ready:
			for _, n := range r.mail.take() {
				r.take(ctx, n)
			}
		case <-timer.C:
			if e, due := r.due(); due <= r.Clock.Now() {
				r.apply(ctx, e)
			}
		}
	}
}

// resume begins the work of the state that the runner was made with.
func (r *runner) resume(ctx context.Context) {
	if r.state.Status == plane.Scheduled {
		r.log.Info("starting a backend", "drone", r.Name)
		r.apply(ctx, plane.Event{Kind: plane.EventAccepted})
		return
	}
	switch {
	case r.state.Status == plane.Loading || r.state.Status == plane.Starting:
		// If it was started and the agent died before it heard, starting it
		// again gives what runs.
		r.process = nil
	case r.process != nil:
		r.look()
		r.openDoor()
		r.watch(ctx, r.process)
		r.follow(ctx, 1)
		if r.expired == 0 { // else its end is what there is to tell
			r.show(Moment{Kind: MomentAdopted, State: r.state})
		}
	case !r.state.Status.Ending():
		r.take(ctx, note{event: plane.Event{Kind: plane.EventExited}, lost: true})
		return
	}
	if r.state.Status.Ending() {
		r.stageAt = r.Clock.Now()
	}
	r.begin(ctx)
}

// take handles one note.
func (r *runner) take(ctx context.Context, n note) {
	if n.ask != nil {
		n.ask(r.mayIdle(ctx))
		return
	}
	switch n.event.Kind {
	case plane.EventStarted:
		if r.starting {
			r.starting = false
			r.watch(ctx, n.process)
			r.follow(ctx, 0)
		}
		r.process = n.process
		r.look()
		if !r.apply(ctx, n.event) && r.state.Status.Ending() {
			r.begin(ctx) // it was asked to end while it started
		}
	case plane.EventFailed:
		if r.starting && r.state.Status.Ending() {
			n.event.Kind = plane.EventExited
		}
		r.starting = false
		r.apply(ctx, n.event)
	case plane.EventExited:
		if r.state.Status == plane.Terminated {
			return
		}
		if !r.state.Status.Ending() {
			r.explain(ctx, n.lost)
		}
		r.apply(ctx, n.event)
	case plane.EventStop:
		if !r.apply(ctx, n.event) && r.state.Status.Ending() && r.process != nil {
			r.begin(ctx) // asked again: make it absent again
		}
	default:
		r.apply(ctx, n.event)
	}
}

// explain finds the reason of an end that nobody here asked for.
func (r *runner) explain(ctx context.Context, lost bool) {
	var reason plane.Reason
	grace := min(r.record.Spec.Grace(), plane.MaxDeadlineGrace)
	until := r.keeper.deadline(r.record.Policy, r.record.Epoch)
	switch {
	case r.expired != 0:
		reason = plane.KeyExpired
	case until != 0 && until != plane.Never && r.Clock.Now() >= until.Add(-grace):
		reason = plane.KeyExpired
	case lost:
		reason = plane.Lost
	default:
		return
	}
	r.apply(ctx, plane.Event{Kind: plane.EventStop, Stop: plane.Hard, Reason: reason})
}

// apply changes the state, records and reports it, and begins its work. It
// reports whether the state changed.
func (r *runner) apply(ctx context.Context, e plane.Event) bool {
	next, changed := r.state.Next(e)
	if !changed {
		return false
	}
	r.state = next
	if next.Status == plane.Starting && r.given.main == 0 {
		// Before the state is recorded, so that a later agent knows the ports.
		if r.given, r.portless = takePorts(r.ports, r.record.Spec.Ports); r.portless != nil {
			r.log.Error("no port for a backend", "error", r.portless)
		}
	}
	r.stage()
	r.look()
	report := journal.Report{Backend: r.id, Generation: r.record.Generation, State: next, AtMS: r.entered(next).UnixMilli()}
	switch next.Status {
	case plane.Waiting:
		r.show(Moment{Kind: MomentStarted, State: next})
	case plane.Ready:
		r.show(Moment{Kind: MomentReady, State: next, Took: r.readyAt.Sub(r.record.AcceptedAt)})
	case plane.Terminated:
		drawn := r.drawn()
		report.Port = drawn.main
		if all := drawn.all(); len(all) > 1 {
			report.Ports = all[1:]
		}
		r.freed(r, next) // before anybody hears: the next generation may come at once
	}
	urgent := next.Status == plane.Ready || next.Status == plane.Terminated
	r.outbox.add(report, urgent, journal.Change{
		Kind: journal.KindProgress, Key: string(r.id),
		Value: journal.Progress{State: next, Port: r.drawn().main, Ports: r.drawn().further, ReadyAt: r.readyAt},
	})
	r.log.Debug("backend changed", "status", next.Status, "reason", next.Reason)
	r.begin(ctx)
	return true
}

// entered is when the backend came to a state: one whose deadline passed while
// no agent was there was ended then, not when we hear of it.
func (r *runner) entered(s plane.State) time.Time {
	now := time.Now()
	if r.expired != 0 && (s.Status.Ending() || s.Status == plane.Terminated) {
		return now.Add(-r.Clock.Now().Sub(r.expired))
	}
	return now
}

// stage notes when the state began, where a time limit counts from it.
func (r *runner) stage() {
	now := r.Clock.Now()
	switch r.state.Status {
	case plane.Loading, plane.Starting, plane.Terminating, plane.HardTerminating:
		r.stageAt = now
	case plane.Ready:
		r.readyAt = now
	}
}

// begin ends the work of the former state and starts that of the current one.
func (r *runner) begin(ctx context.Context) {
	if r.work != nil {
		r.work()
	}
	work, cancel := context.WithCancel(ctx)
	r.work = cancel
	switch r.state.Status {
	case plane.Loading:
		r.prepare(work)
	case plane.Starting:
		r.start(ctx)
	case plane.Waiting:
		r.probe(work)
	case plane.Terminating, plane.HardTerminating:
		r.holds.close()
		r.stop(ctx, work)
	case plane.Terminated:
		cancel()
		r.leave()
	}
}

// leave gives back what the backend had, once nothing of it is left.
func (r *runner) leave() {
	r.holds.close()
	r.stream.close()
	r.doors.remove(r.id)
	r.leaveData()
	r.ended(r)
	for _, n := range r.mail.take() {
		if n.ask != nil {
			n.ask(true, "")
		}
	}
	if r.followed != nil {
		select {
		case <-r.followed:
		case <-time.After(lastOutput):
		}
	}
	r.show(Moment{Kind: MomentEnded, State: r.state})
}

// look publishes what others may see.
func (r *runner) look() { r.now.Store(&glance{state: r.state, process: r.process, given: r.given}) }

// due is the event that time brings next, and when.
func (r *runner) due() (plane.Event, plane.Instant) {
	spec, e, at := r.record.Spec, plane.Event{Kind: plane.EventStop}, plane.Never
	switch r.state.Status {
	case plane.Loading, plane.Starting, plane.Waiting:
		e.Stop, e.Reason, at = plane.Hard, plane.StartupTimeout, r.stageAt.Add(spec.StartLimit())
	case plane.Terminating:
		return plane.Event{Kind: plane.EventStop, Stop: plane.Hard, Reason: r.state.Reason}, r.stageAt.Add(spec.Grace())
	}
	if limit := spec.LifetimeLimit; limit != nil && !r.state.Status.Ending() {
		if end := r.record.AcceptedAt.Add(time.Duration(*limit) * time.Second); end < at {
			return plane.Event{Kind: plane.EventStop, Stop: plane.Soft, Reason: plane.Swept}, end
		}
	}
	return e, at
}

// untilDue is how long a timer may sleep. The timer only wakes; what is due is
// decided on the lease clock, which may run on where timers don't.
func (r *runner) untilDue() time.Duration {
	_, at := r.due()
	if at == plane.Never {
		return time.Hour
	}
	return min(max(at.Sub(r.Clock.Now()), time.Millisecond), time.Hour)
}
