package drone

import (
	"context"
	"errors"
	"time"

	"plane"
	"plane/internal/runtime"
	"plane/internal/wait"
)

const restop = 5 * time.Second // a hard stop without an end is repeated

// stop makes the backend end as the state says. work ends with the state.
func (r *runner) stop(ctx, work context.Context) {
	r.stream.publish("stop", r.stopNotice())
	switch {
	case r.starting: // its result will come, and then it is stopped
	case r.process == nil:
		r.mail.put(note{event: plane.Event{Kind: plane.EventExited}})
	default:
		p, kind := r.process, r.state.Termination
		r.helpers.Go(func() { r.makeAbsent(ctx, work, p, kind) })
	}
}

// makeAbsent repeats the stop until it was taken, a hard one until the end. The
// end itself is told by watch; but if the runtime says that nothing is left and
// nothing comes of it, it is looked for.
func (r *runner) makeAbsent(ctx, work context.Context, p runtime.Process, kind plane.StopKind) {
	for pause := 100 * time.Millisecond; ; {
		err := p.Stop(work, kind)
		switch {
		case work.Err() != nil:
			return
		case err == nil && kind == plane.Soft:
			return
		case err == nil:
			pause = restop
		case errors.Is(err, runtime.ErrGone):
			if _, err := r.runtime.Attach(work, r.id); errors.Is(err, runtime.ErrGone) {
				r.mail.put(note{event: plane.Event{Kind: plane.EventExited}})
				return
			}
			pause = min(2*pause, restop)
		default:
			r.log.Warn("stopping the backend failed; trying again", "kind", kind, "error", err)
			pause = min(2*pause, restop)
		}
		if !wait.For(work, pause) {
			return
		}
		if again, err := r.runtime.Attach(ctx, r.id); err == nil {
			p = again
		}
	}
}

func (r *runner) stopNotice() notice {
	at := time.Now()
	if r.state.Status == plane.Terminating {
		at = at.Add(r.record.Spec.Grace())
	}
	return notice{Reason: r.state.Reason, DeadlineMS: at.UnixMilli()}
}

// mayIdle answers whether the backend may stop because nobody uses it, and if
// so begins to stop it: nothing can come in between.
func (r *runner) mayIdle(ctx context.Context) (bool, string) {
	switch {
	case r.state.Status.Ending():
		return true, ""
	case r.state.Status != plane.Ready:
		return false, "it is " + string(r.state.Status)
	}
	if n := r.guests.closeUnlessAny(); n > 0 {
		return false, commandsRun(n)
	}
	if plane.UseHolds.Counts(r.record.Spec.Idle) {
		if why, held := r.holds.closeUnlessHeld(); held {
			r.guests.open()
			return false, why
		}
	}
	r.show(Moment{Kind: MomentIdle, State: r.state})
	r.apply(ctx, plane.Event{Kind: plane.EventStop, Stop: plane.Soft, Reason: plane.Swept})
	return true, ""
}
