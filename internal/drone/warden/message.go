package warden

import (
	"errors"
	"fmt"
	"time"

	"plane"
	"plane/internal/drone/means"
)

// version of the protocol on the warden's socket. Parts of other versions are
// refused, so that a part that was upgraded says so instead of guessing.
const version = 2

// Errors of a warden's answers.
var (
	// ErrGone: nothing of that backend runs and nothing is remembered of it, or
	// it was stopped before its start arrived.
	ErrGone = errors.New("backend is gone")
	// ErrDead: its deadline has passed.
	ErrDead = errors.New("deadline has passed")
	// ErrKeyInUse: another backend of the key still runs here.
	ErrKeyInUse = errors.New("another backend of this key still runs on this machine")
	// ErrNoSandbox: the prepared sandbox has ended, or was claimed; launch anew.
	ErrNoSandbox = errors.New("no such prepared sandbox")
	// ErrLost: the connection broke before the answer; the warden may have done
	// what it was asked. Ask again on a new connection.
	ErrLost = errors.New("connection to the warden is lost")
)

var errorKinds = map[string]error{"gone": ErrGone, "dead": ErrDead, "key-in-use": ErrKeyInUse, "no-sandbox": ErrNoSandbox}

// role is what the other end of a connection is.
type role string

const (
	roleAgent  role = "agent"  // keeps warden and reaper alive, commands
	roleReaper role = "reaper" // holds duplicates, inherits
	roleOutput role = "output" // reads the output of one backend
	roleProbe  role = "probe"  // asks whether the warden answers
)

// message is everything that is said on the socket.
type message struct {
	Type     string          `json:"type"`
	Request  uint64          `json:"request,omitempty"` // an answer has that of its question
	Fds      int             `json:"fds,omitempty"`     // descriptors that come with it
	Hello    *hello          `json:"hello,omitempty"`
	Welcome  *Welcome        `json:"welcome,omitempty"`
	Order    *Order          `json:"order,omitempty"`
	Backend  plane.BackendID `json:"backend,omitempty"`
	Pid      int             `json:"pid,omitempty"`
	Sandbox  *Sandbox        `json:"sandbox,omitempty"`
	Names    []string        `json:"names,omitempty"` // ids of sandboxes
	Stop     plane.StopKind  `json:"stop,omitempty"`
	Running  *Running        `json:"running,omitempty"`
	Found    []Running       `json:"found,omitempty"`
	Exit     *plane.Exit     `json:"exit,omitempty"`
	Output   *outputAsk      `json:"output,omitempty"`
	Bytes    []byte          `json:"bytes,omitempty"`
	Held     *held           `json:"held,omitempty"`
	Instance string          `json:"instance,omitempty"`
	Warnings []string        `json:"warnings,omitempty"`
	Error    string          `json:"error,omitempty"`
	Kind     string          `json:"kind,omitempty"` // of Error, see errorKinds
}

// Types of messages. A question is answered by "done" or "failed".
const (
	typeHello   = "hello"
	typeWelcome = "welcome"
	typeDone    = "done"
	typeFailed  = "failed"

	typeStart  = "start"
	typeStop   = "stop"
	typeWait   = "wait"
	typeForget = "forget"
	typeFound  = "found"
	typeAttach = "attach"
	typeOutput = "output"

	typePrepare   = "prepare"
	typeDiscard   = "discard"
	typeSandboxes = "sandboxes"
	typeGuard     = "guard"
	typeBind      = "bind"
	typeRelease   = "release"

	typeHeld  = "held"  // hold this: with a pipe, a pidfd or both
	typeDrop  = "drop"  // nothing is left of this one
	typeBegin = "begin" // what follows until typeAll is everything
	typeAll   = "all"
	typeLeave = "leave" // we both go: nothing is held and nobody asks
)

type hello struct {
	Version  int    `json:"version"`
	Role     role   `json:"role"`
	Pid      int    `json:"pid"`
	Instance string `json:"instance,omitempty"` // of a reaper: whose backends it holds
}

// Welcome is what a warden says of itself.
type Welcome struct {
	Instance string `json:"instance"` // stays while warden or reaper live: nothing was lost since
	Boot     string `json:"boot"`
	Base     string `json:"base,omitempty"` // see means.At
	Pid      int    `json:"pid"`
}

// Order is a backend to start.
type Order struct {
	Backend    plane.BackendID  `json:"backend"`
	Key        string           `json:"key"` // plane.Key.Hash
	Generation plane.Generation `json:"generation"`
	Policy     plane.Policy     `json:"policy"`
	Epoch      int64            `json:"epoch"`
	Deadline   plane.Instant    `json:"deadline"`
	Grace      time.Duration    `json:"grace"`
	Executable plane.Executable `json:"executable"`
	Env        []string         `json:"env"`
	Port       int              `json:"port"`
	Runtime    string           `json:"runtime,omitempty"` // "" = process; see table.Runtimes

	// Launch, where Executable.Command isn't what runs: something else makes
	// the first process of the backend.
	Launch *Launch `json:"launch,omitempty"`
	// Sandbox is the id of a prepared one that the backend takes over, in place
	// of Launch; Payload is what its init waits for.
	Sandbox string `json:"sandbox,omitempty"`
	Payload []byte `json:"payload,omitempty"`
}

// Launch makes the first process of a backend: Argv is run to its end in the
// backend's cgroup, under its limits, with the backend's output as its own;
// the process whose number it has left in PidFile is the first one, and a child
// of the warden once Argv has ended. What runs in its pid namespace ends with it.
type Launch struct {
	Argv    []string `json:"argv"`
	Env     []string `json:"env"`
	Dir     string   `json:"dir"`
	PidFile string   `json:"pid_file"`         // absolute
	Mounts  string   `json:"mounts,omitempty"` // path of the mount namespace that Argv is run in; "" = the warden's
}

// Sandbox is a prepared one: launched, and waiting for its payload on
// descriptor 3. It ends by itself when warden or agent end.
type Sandbox struct {
	ID     string               `json:"id"` // see NewSandboxID
	Launch Launch               `json:"launch"`
	Limits plane.ResourceLimits `json:"limits"`
}

// Running is a backend that runs, or ended and isn't forgotten.
type Running struct {
	Backend plane.BackendID `json:"backend"`
	Pid     int             `json:"pid,omitempty"`
	Start   uint64          `json:"start,omitempty"`
	Group   means.Group     `json:"group,omitempty"`
	Port    int             `json:"port,omitempty"`
	Engine  bool            `json:"engine,omitempty"`  // a guard, see Guard
	Runtime string          `json:"runtime,omitempty"` // that of its order; "" = process
	Exit    *plane.Exit     `json:"exit,omitempty"`
}

// held is what comes with descriptors: which of them, in this order.
type held struct {
	Backend plane.BackendID `json:"backend"`
	Pid     int             `json:"pid,omitempty"`
	Start   uint64          `json:"start,omitempty"`
	Group   means.Group     `json:"group,omitempty"`
	Pipe    bool            `json:"pipe,omitempty"`
	Pidfd   bool            `json:"pidfd,omitempty"`
}

type outputAsk struct {
	Tail   int   `json:"tail,omitempty"`
	Follow bool  `json:"follow,omitempty"`
	From   int64 `json:"from,omitempty"` // offset to go on at, -1 = by Tail
}

func failed(request uint64, err error) *message {
	m := &message{Type: typeFailed, Request: request, Error: err.Error()}
	for kind, e := range errorKinds {
		if errors.Is(err, e) {
			m.Kind = kind
		}
	}
	return m
}

func (m *message) err() error {
	if m.Type != typeFailed {
		return nil
	}
	if e, ok := errorKinds[m.Kind]; ok {
		return e
	}
	return errors.New(m.Error)
}

func (h hello) check() error {
	if h.Version != version {
		return fmt.Errorf("the warden speaks version %d, this program %d; stop the backends of this data directory and start again", version, h.Version)
	}
	return nil
}
