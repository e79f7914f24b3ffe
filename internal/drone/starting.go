package drone

import (
	"context"
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/runtime"
	"plane/internal/wait"
	"plane/internal/wire"
)

// prepare fetches what the backend needs; its end aborts it.
func (r *runner) prepare(ctx context.Context) {
	if r.refused != "" {
		r.fail(errors.New(r.refused))
		return
	}
	unit := r.unit(r.given, "")
	r.helpers.Go(func() {
		prepared, err := r.runtime.Prepare(ctx, unit, r.tellPull)
		if err == nil && ctx.Err() == nil {
			err = r.makeData()
		}
		switch {
		case err == nil:
			r.tell(plane.Event{Kind: plane.EventPrepared, Digest: prepared.Digest})
		case ctx.Err() == nil:
			r.fail(err)
		}
	})
}

// start has the runtime start the backend. It is not aborted when the backend
// is asked to end: only an answer tells whether something runs.
func (r *runner) start(ctx context.Context) {
	if r.starting {
		return
	}
	if r.given.main == 0 {
		if r.portless == nil {
			r.portless = errNoPort // so it was found by an agent before this one
		}
		r.fail(r.portless)
		return
	}
	r.starting = true
	unit, given := r.unit(r.given, r.openDoor()), r.given
	r.helpers.Go(func() {
		sctx, cancel := outlive(ctx, startLeeway)
		p, err := r.runtime.Start(sctx, unit)
		cancel()
		if err != nil && ctx.Err() == nil {
			p, err = r.afterFailure(ctx, err)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			r.fail(err)
		default:
			// A renewal may have been answered while it started.
			r.keeper.touch(r.record.Policy, r.record.Epoch)
			r.mail.put(note{event: plane.Event{Kind: plane.EventStarted, Address: p.Address(), Ports: given.addresses(p.Address())}, process: p})
		}
	})
}

// openDoor gives the path of the backend's socket, "" if it gets none.
func (r *runner) openDoor() string {
	until := r.keeper.deadline(r.record.Policy, r.record.Epoch)
	if until != plane.Never && r.Clock.Now() >= until {
		return "" // the start will be refused, unless it was made before
	}
	socket, err := r.doors.add(r)
	if err != nil {
		r.log.Warn("backend gets no socket", "error", err)
	}
	return socket
}

// tellPull notes progress for the controller; the link tells it in its own time.
func (r *runner) tellPull(p runtime.Progress) {
	r.pull.Store(&wire.Progress{Backend: r.id, Text: p.Text, Done: p.Done, Total: p.Total})
	select {
	case r.pulls <- struct{}{}:
	default:
	}
}

// startLeeway is how long an agent that leaves waits for starts under way. The
// next agent takes over what they started; an aborted one would be lost.
const startLeeway = 2 * time.Second

// outlive gives a context that ends d after ctx.
func outlive(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		wait.For(out, d)
		cancel()
	})
	return out, func() {
		stop()
		cancel()
	}
}

// afterFailure looks whether a start that gave an error left something running.
func (r *runner) afterFailure(ctx context.Context, failure error) (runtime.Process, error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		p, err := r.runtime.Attach(ctx, r.id)
		if err == nil {
			return p, nil
		}
		if errors.Is(err, runtime.ErrGone) || ctx.Err() != nil {
			return nil, failure
		}
		r.log.Warn("cannot tell whether the backend runs", "error", err)
		if !wait.For(ctx, pause) {
			return nil, failure
		}
	}
}

func (r *runner) fail(err error) {
	exit := plane.Exit{Message: err.Error()}
	switch {
	case errors.Is(err, runtime.ErrDead):
		exit.Message, exit.Fault = "The drone's lease ran out before the start; connect again.", true
	case errors.Is(err, errNoPort):
		exit.Fault = true
	}
	r.tell(plane.Event{Kind: plane.EventFailed, Exit: exit})
}

func (r *runner) unit(given portSet, socket string) runtime.Unit {
	egress, _ := plane.ParseEgress(r.record.Spec.Egress) // checked with the spec
	doors := ""
	if r.exec.Kind() == plane.KindImage {
		doors = r.Home.DoorDir(r.id)
	}
	return runtime.Unit{
		Backend:    r.id,
		Key:        r.record.Key,
		Generation: r.record.Generation,
		Policy:     r.record.Policy,
		Epoch:      r.record.Epoch,
		Deadline:   r.keeper.deadline(r.record.Policy, r.record.Epoch),
		Grace:      r.record.Spec.Grace(),
		Executable: command(r.exec, given, r.BaseDir),
		Env:        environment(r.BaseEnv, r.exec, r.id, r.record, given, r.dataDir(), socket),
		Port:       given.main,
		Ports:      given.further,
		Doors:      doors,
		Data:       r.dataDir(),
		DataNew:    r.record.Spec.Data == plane.DataScratch || r.record.Volume != nil && r.record.Volume.New,
		Egress:     egress,
	}
}

// watch waits for the end of p and tells it. Trouble with watching is an event
// too: it is borne for a while, because a warden may be on its way back, and
// then the backend is ended rather than left unobserved.
func (r *runner) watch(ctx context.Context, p runtime.Process) {
	r.helpers.Go(func() {
		var troubled time.Time
		failed := false
		for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
			exit, err := p.Wait(ctx)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				r.mail.put(note{event: plane.Event{Kind: plane.EventExited, Exit: r.lastWords(ctx, exit)}})
				return
			}
			again, aerr := r.runtime.Attach(ctx, r.id)
			if errors.Is(aerr, runtime.ErrGone) {
				r.mail.put(note{event: plane.Event{Kind: plane.EventExited}, lost: true})
				return
			}
			if aerr == nil {
				p = again
			}
			switch {
			case troubled.IsZero():
				troubled = time.Now()
				r.log.Warn("watching the backend failed; trying again", "error", err)
			case !failed && time.Since(troubled) > r.patience:
				failed = true
				r.fail(fmt.Errorf("watch backend: %w", err))
			}
			if !wait.For(ctx, pause) {
				return
			}
		}
	})
}
