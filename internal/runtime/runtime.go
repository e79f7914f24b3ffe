// Package runtime is what a drone asks of whatever runs backends. Grace
// periods, probes, retries and leases are not a runtime's business, with one
// exception: it puts the deadline of a start where the executioners see it
// before anything runs.
package runtime

import (
	"context"
	"errors"
	"io"
	"time"

	"plane"
)

var (
	// ErrGone: nothing of that backend runs, and nothing is remembered of it.
	ErrGone = errors.New("backend is gone")
	// ErrDead: its deadline has passed; it must not start.
	ErrDead = errors.New("deadline has passed")
)

// Unit is one backend to run.
type Unit struct {
	Backend    plane.BackendID
	Key        plane.Key
	Generation plane.Generation
	Policy     plane.Policy
	Epoch      int64
	Deadline   plane.Instant // on the lease clock
	Grace      time.Duration // of the soft stop before the deadline, see plane.MaxDeadlineGrace
	Executable plane.Executable
	Env        []string // complete, NAME=value, the last of a name counts
	Port       int      // that it must listen on

	// For images, which have their own view of files and network.
	Ports   map[string]int // further ports by name, inside
	Doors   string         // directory of the drone with its socket, shown inside at DoorsDir; it is there before Start
	Data    string         // directory of the drone with its data, shown inside at DataDir; "" = none
	DataNew bool           // Data has just been made: it is to belong to whatever user the image runs as
	Egress  plane.Egress   // what the app asks; the runtime's operator may allow less
}

// Where an image finds what Plane gives it, and what its environment says.
const (
	DoorsDir = "/run/plane"
	Socket   = DoorsDir + "/socket" // SESSION_BACKEND_SOCKET; so named in Unit.Doors too
	DataDir  = "/plane-data"        // SESSION_BACKEND_DATA_DIR, and the mount of an executable
)

// Progress is how far a pull has come.
type Progress struct {
	Text  string // what is done, e.g. "pulling" or "unpacking"
	Done  int64  // bytes
	Total int64  // bytes; 0 = not known yet
}

// Prepared is what Prepare found.
type Prepared struct {
	Digest string // of the image: "sha256:…"; "" for commands
}

// Found is a backend that a runtime runs or ran, whoever started it.
type Found struct {
	Backend plane.BackendID
	Pid     int         // 0 if it isn't a process of this machine
	Address string      // host:port
	Exit    *plane.Exit // of one that ended and wasn't forgotten
}

// Runtime runs backends of one kind.
type Runtime interface {
	// Prepare fetches what Start needs. It may take long; the end of ctx aborts
	// it. tell hears of progress, from one goroutine at a time and not after
	// Prepare has returned. Errors are sentences for people.
	Prepare(ctx context.Context, u Unit, tell func(Progress)) (Prepared, error)
	// Start runs u and is idempotent on its backend id: if it runs already,
	// that process is returned; if it ran and ended, one whose Wait returns.
	// Errors that a person can mend say how. ErrDead if the deadline has passed.
	Start(ctx context.Context, u Unit) (Process, error)
	// Found lists everything of this drone that runs or waits to be forgotten.
	Found(ctx context.Context) ([]Found, error)
	// Attach gives the process of a Found. ErrGone if there is none.
	Attach(ctx context.Context, id plane.BackendID) (Process, error)
}

// Process is one running backend. Its methods may be called at once and twice.
type Process interface {
	// Address is host:port, or a plane.GateAddress, that the drone and, on one
	// machine, proxies dial.
	Address() string
	Pid() int // 0 if it isn't a process of this machine
	// Stop sends SIGTERM (Soft) or makes it absent (Hard), descendants
	// included. It doesn't wait for the end. ErrGone is no failure.
	Stop(ctx context.Context, kind plane.StopKind) error
	// Wait returns when nothing of the backend is left, by looking.
	Wait(ctx context.Context) (plane.Exit, error)
	// Forget drops what is kept of an ended backend, once its end is recorded.
	Forget(ctx context.Context) error
}

// Meter is a power of processes: what they use.
type Meter interface {
	Usage(ctx context.Context) (Usage, error)
}

// Usage is what a backend has used and uses. What the runtime can't tell is 0.
type Usage struct {
	CPU      time.Duration
	Memory   int64 // bytes that can't be given up: usage less inactive page cache, as Plane 0.5 counts
	Cache    int64 // bytes of inactive page cache
	Pids     int64 // processes and threads
	Received int64 // bytes that came into its network namespace, loopback not counted twice
	Sent     int64 // bytes that left it
	Disk     int64 // bytes written to its own layer, without its data directory
}

// Execer is a power of processes: another command beside the backend's own, in
// the same place and with the same environment and limits.
type Execer interface {
	// Exec runs c until it ends, or is killed because ctx or the backend has
	// ended; then what it left running is ended too, and nothing of it outlives
	// the backend, whoever else dies. Its exit code is 128 + signal where a signal
	// ended it, and -1 where nothing tells. Errors are sentences, or ErrGone.
	Exec(ctx context.Context, c Command) (exit int, err error)
}

// Command is what Execer runs. What it writes to must fail once ctx has ended.
type Command struct {
	Unit           Unit // the backend, as it was started: environment and limits for a runtime that keeps neither
	Argv           []string
	TTY            bool
	Rows, Cols     uint16      // of the terminal at first
	Resize         <-chan Size // nil = never
	Stdin          io.Reader   // nil = nothing
	Stdout, Stderr io.Writer   // with TTY all goes to Stdout
}

// Size is that of a terminal.
type Size struct{ Rows, Cols uint16 }

// Logger is a power of runtimes: kept output.
type Logger interface {
	// Output is the last tail lines (0 = all that is kept), oldest first; with
	// follow, then what comes until the backend ends or ctx does. ErrGone.
	Output(ctx context.Context, id plane.BackendID, tail int, follow bool) (io.ReadCloser, error)
}

// Listener is a power of processes: what they listen on.
type Listener interface {
	// Listening reports whether the backend's own processes own the socket
	// that listens on its port, and whether one of its sockets listens on all
	// interfaces. known is false where the system doesn't tell.
	Listening(ctx context.Context) (owns, everywhere, known bool, err error)
}
