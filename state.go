package plane

// Status says how far a backend has come. Statuses only rise.
type Status string

// The statuses, in their order.
const (
	Scheduled       Status = "scheduled"        // recorded for a drone
	Loading         Status = "loading"          // the drone prepares: image, directories
	Starting        Status = "starting"         // the runtime starts it
	Waiting         Status = "waiting"          // it runs; not yet ready
	Ready           Status = "ready"            // it answers
	Terminating     Status = "terminating"      // asked to end (SIGTERM)
	HardTerminating Status = "hard-terminating" // being killed
	Terminated      Status = "terminated"       // nothing of it is left
)

// Statuses lists all statuses in their order.
var Statuses = []Status{Scheduled, Loading, Starting, Waiting, Ready, Terminating, HardTerminating, Terminated}

// Order is the number by which statuses rise; 0 for an unknown status.
func (s Status) Order() int {
	switch s {
	case Scheduled:
		return 10
	case Loading:
		return 20
	case Starting:
		return 30
	case Waiting:
		return 40
	case Ready:
		return 50
	case Terminating:
		return 60
	case HardTerminating:
		return 65
	case Terminated:
		return 70
	}
	return 0
}

// Ending reports whether the backend has been asked to end, or has.
func (s Status) Ending() bool { return s.Order() >= Terminating.Order() }

// Reason says why a backend was made to end; "" = it ended by itself.
type Reason string

// The reasons, spelt as Plane 0.5 does.
const (
	Swept          Reason = "swept"          // idle, or its lifetime limit
	External       Reason = "external"       // someone asked
	KeyExpired     Reason = "keyexpired"     // the drone's lease ran out
	Lost           Reason = "lost"           // nothing of it was found
	StartupTimeout Reason = "startuptimeout" // not ready in time
	InternalError  Reason = "internalerror"  // watching it failed
)

// StopKind is how a backend is made to end.
type StopKind string

// Soft is SIGTERM and a grace period; Hard is SIGKILL.
const (
	Soft StopKind = "soft"
	Hard StopKind = "hard"
)

// Exit is how a backend's process ended.
type Exit struct {
	Code    *int   `json:"code,omitempty"`    // exit code, 128 + signal for a signal; nil = unknown
	Signal  string `json:"signal,omitempty"`  // "SIGKILL", …
	OOM     bool   `json:"oom,omitempty"`     // killed for its memory limit
	Message string `json:"message,omitempty"` // a sentence, where it never ran
	Fault   bool   `json:"fault,omitempty"`   // the drone's, not the program's
	Output  string `json:"output,omitempty"`  // its last lines
}

// State is a status with what belongs to it. Its JSON is that of the HTTP API
// and of the store.
type State struct {
	Status      Status            `json:"status"`
	Address     string            `json:"address,omitempty"`     // host:port, of waiting and ready
	Ports       map[string]string `json:"ports,omitempty"`       // addresses of further ports by name, of waiting and ready
	Digest      string            `json:"digest,omitempty"`      // of its image, from starting on: "sha256:…", of the manifest that runs here
	LastStatus  Status            `json:"last_status,omitempty"` // of the three ends: the last status before
	Termination StopKind          `json:"termination,omitempty"`
	Reason      Reason            `json:"reason,omitempty"`
	Exit        *Exit             `json:"exit,omitempty"` // of terminated
}

// ExitError reports whether an exit code is known and isn't 0.
func (s State) ExitError() bool {
	return s.Exit != nil && s.Exit.Code != nil && *s.Exit.Code != 0
}

// EventKind names what happened to a backend.
type EventKind string

// The events.
const (
	EventAccepted EventKind = "accepted" // the drone took the spawn
	EventPrepared EventKind = "prepared" // the runtime has what it needs
	EventStarted  EventKind = "started"  // it runs, at Address
	EventReady    EventKind = "ready"    // it answers
	EventStop     EventKind = "stop"     // it must end: Stop, Reason
	EventFailed   EventKind = "failed"   // preparing, starting or watching it failed: Exit.Message
	EventExited   EventKind = "exited"   // nothing of it is left: Exit
)

// EventKinds lists all kinds of event.
var EventKinds = []EventKind{EventAccepted, EventPrepared, EventStarted, EventReady, EventStop, EventFailed, EventExited}

// Event is something that happened to a backend.
type Event struct {
	Kind    EventKind
	Digest  string            // of prepared: that of its image
	Address string            // of started
	Ports   map[string]string // of started: addresses of further ports
	Stop    StopKind          // of stop
	Reason  Reason            // of stop
	Exit    Exit              // of failed and exited
}

// Next is the state that e leads to, and whether it is another one. An event
// that comes late, twice or out of order changes nothing; statuses only rise.
func (s State) Next(e Event) (State, bool) {
	switch e.Kind {
	case EventAccepted:
		if s.Status == Scheduled {
			return State{Status: Loading}, true
		}
	case EventPrepared:
		if s.Status == Loading {
			return State{Status: Starting, Digest: e.Digest}, true
		}
	case EventStarted:
		if s.Status == Starting {
			return State{Status: Waiting, Digest: s.Digest, Address: e.Address, Ports: e.Ports}, true
		}
	case EventReady:
		if s.Status == Waiting {
			return State{Status: Ready, Digest: s.Digest, Address: s.Address, Ports: s.Ports}, true
		}
	case EventStop:
		return s.stop(e.Stop, e.Reason)
	case EventFailed:
		switch s.Status {
		case Scheduled, Loading, Starting:
			return s.ended(e.Exit), true
		case Waiting, Ready:
			return s.stop(Hard, InternalError)
		}
	case EventExited:
		if s.Status != Terminated {
			return s.ended(e.Exit), true
		}
	}
	return s, false
}

func (s State) stop(kind StopKind, reason Reason) (State, bool) {
	next := State{Status: Terminating, Digest: s.Digest, LastStatus: s.Status, Termination: Soft, Reason: reason}
	if kind == Hard {
		next.Status, next.Termination = HardTerminating, Hard
	}
	if next.Status.Order() <= s.Status.Order() {
		return s, false
	}
	if s.Status == Terminating { // soft became hard: what was before, and why, stays
		next.LastStatus, next.Reason = s.LastStatus, s.Reason
	}
	return next, true
}

func (s State) ended(exit Exit) State {
	next := State{Status: Terminated, Digest: s.Digest, LastStatus: s.Status, Exit: &exit}
	if s.Status.Ending() {
		next.LastStatus, next.Termination, next.Reason = s.LastStatus, s.Termination, s.Reason
	}
	return next
}
