package warden

import (
	"context"
	"log/slog"
	"os"
	"time"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
)

// Executioner enforces the table: SIGTERM ahead of a deadline, once, and at it
// SIGKILL, until nothing is left. Warden and reaper each run one; that both do
// the same harms nothing.
type Executioner struct {
	Table *table.Table
	Means *means.Means
	Log   *slog.Logger
	Home  home.Home
	Wake  chan struct{} // with room for one; a send makes it look at once

	engine engine
	sought map[plane.BackendID]plane.Instant // when an engine's container was last killed, or looked for
}

const (
	pollTable  = 50 * time.Millisecond  // deadlines are compared at least this often
	pollDying  = 20 * time.Millisecond  // while something condemned is left
	pollEngine = 100 * time.Millisecond // an engine may yet start what is condemned
	pollEnded  = 500 * time.Millisecond // an engine hasn't yet told how it ended
	pollUnused = 500 * time.Millisecond
)

// Run enforces until ctx is done.
func (x *Executioner) Run(ctx context.Context) error {
	x.engine.home, x.engine.log = x.Home, x.Log
	defer x.engine.all.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	clock := x.Table.Clock()
	var next plane.Instant
	var seen uint64
	for {
		if changes := x.Table.Changes(); changes != seen || clock.Now() >= next {
			seen = changes
			next = x.pass()
		}
		pause := pollTable
		if x.Table.Used() == 0 {
			pause = pollUnused
		} else if d := next.Sub(clock.Now()); d < pause {
			pause = max(d, 0)
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-x.Wake:
		case <-timer.C:
		}
	}
}

// Look makes Run look at once.
func (x *Executioner) Look() {
	select {
	case x.Wake <- struct{}{}:
	default:
	}
}

// pass does what is due and returns when the next thing will be.
func (x *Executioner) pass() plane.Instant {
	next := plane.Never
	now := x.Table.Clock().Now()
	var kill []means.Identity
	sought := map[plane.BackendID]plane.Instant{}
	for _, e := range x.Table.Entries() {
		switch {
		case x.Table.Condemn(e):
			switch {
			case e.Dead:
			case e.Final:
				x.Log.Info("killing: it was told to end", "backend", e.Backend, "pid", e.Pid)
			default:
				x.Log.Info("killing: its deadline has come", "backend", e.Backend, "pid", e.Pid)
			}
			if e.Engine {
				if at := x.due(e); now < at {
					sought[e.Backend] = x.sought[e.Backend]
					next = min(next, at)
					continue
				}
				sought[e.Backend] = now
				_ = os.RemoveAll(x.Home.DoorDir(e.Backend))
				x.engine.signal(e.Backend, "KILL")
				next = min(next, now.Add(pollEngine))
			} else {
				next = min(next, now.Add(pollDying))
			}
			kill = append(kill, identity(e))
		case now < e.SoftAt() || e.Softened:
			if e.Softened {
				next = min(next, e.Deadline)
			} else {
				next = min(next, e.SoftAt())
			}
		default:
			next = min(next, e.Deadline)
			if e.Pid != 0 && x.Table.Soften(e) {
				x.Log.Info("the deadline is near", "backend", e.Backend, "pid", e.Pid)
				x.Means.Terminate(identity(e))
				if e.Engine {
					x.engine.signal(e.Backend, "TERM")
				}
			}
		}
	}
	x.sought = sought
	if len(kill) > 0 {
		x.Means.Kill(kill...)
	}
	return next
}

// due is when an engine's container that is condemned is to be killed, 0 = now.
// What is known to run, and what has just been condemned, is at once. Else it is
// looked for among all processes, which takes milliseconds: not whenever
// something else in the table changes; and seldom once its init has ended, after
// which only the engine could start it, which can't without the directory that
// is gone.
func (x *Executioner) due(e table.Entry) plane.Instant {
	last, again := x.sought[e.Backend]
	switch {
	case !again || e.Pid != 0 && x.Means.Alive(identity(e)):
		return 0
	case e.Pid != 0:
		return last.Add(pollEnded)
	}
	return last.Add(pollEngine)
}

func identity(e table.Entry) means.Identity {
	return means.Identity{Backend: e.Backend, Pid: e.Pid, Start: e.Start, Group: means.Group(e.Group), Engine: e.Engine}
}
