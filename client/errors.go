package client

import (
	"fmt"
	"net/http"

	"plane"
)

// Failure is an error that the controller answered. It wraps Err, whose Status
// is the HTTP status.
type Failure struct {
	ID  string // under which the controller logged it
	Err *plane.Error
}

// Error gives the message alone; it is a sentence.
func (e *Failure) Error() string { return e.Err.Message }

// Unwrap gives the *plane.Error.
func (e *Failure) Unwrap() error { return e.Err }

// Unreachable means that no answer came. Whether the request had an effect is
// not known.
type Unreachable struct{ Err error }

func (e *Unreachable) Error() string { return "reach controller: " + e.Err.Error() }

// Unwrap gives the network's error.
func (e *Unreachable) Unwrap() error { return e.Err }

// UnexpectedStatus is an answer that isn't a controller's: something stands
// between, or it is another program.
type UnexpectedStatus struct{ Status int }

func (e *UnexpectedStatus) Error() string {
	return fmt.Sprintf("unexpected status %d %s from controller", e.Status, http.StatusText(e.Status))
}

// BadAnswer is an answer that can't be read.
type BadAnswer struct{ Err error }

func (e *BadAnswer) Error() string { return "read answer of controller: " + e.Err.Error() }

// Unwrap gives what is wrong with it.
func (e *BadAnswer) Unwrap() error { return e.Err }

// BadURL is a controller URL that can't be used.
type BadURL struct {
	URL string // without credentials
	Err error
}

func (e *BadURL) Error() string { return fmt.Sprintf("controller URL %q: %v", e.URL, e.Err) }

// Unwrap gives what is wrong with it.
func (e *BadURL) Unwrap() error { return e.Err }

// Ended is what WaitReady gives for a backend that ended, or was asked to end,
// before it was ready.
type Ended struct {
	Backend plane.BackendID
	Entry   StatusEntry
}

func (e *Ended) Error() string {
	s := fmt.Sprintf("backend %s is %s and will not be ready", e.Backend, e.Entry.Status)
	if e.Entry.TerminationReason != "" {
		s += fmt.Sprintf(" (%s)", e.Entry.TerminationReason)
	}
	return s
}
