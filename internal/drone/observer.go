package drone

import (
	"time"

	"plane"
)

// Observer is shown what happens to backends, for people. Observe is called
// from several goroutines and must not block.
type Observer interface{ Observe(Moment) }

// MomentKind names a moment; spelt as `plane dev --json` does.
type MomentKind string

// The moments.
const (
	MomentAdopted MomentKind = "adopted" // found running when the agent began
	MomentStarted MomentKind = "started"
	MomentReady   MomentKind = "ready"
	MomentIdle    MomentKind = "idle"   // it is stopped because nobody uses it
	MomentEnded   MomentKind = "ended"  // State says why
	MomentOutput  MomentKind = "output" // Line
	MomentWarning MomentKind = "warning"
)

// Moment is something that happened to a backend.
type Moment struct {
	Kind       MomentKind
	At         time.Time
	Backend    plane.BackendID
	Key        plane.Key
	Generation plane.Generation
	App        string
	Took       time.Duration // of ready: since the order came
	State      plane.State
	Line       string // of output and warning, without its newline
}

func (r *runner) show(m Moment) {
	if r.Observer == nil {
		return
	}
	m.At, m.Backend, m.Key, m.Generation, m.App = time.Now(), r.id, r.record.Key, r.record.Generation, r.record.App
	r.Observer.Observe(m)
}
