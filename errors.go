package plane

import (
	"errors"
	"time"
)

// Kind classifies an Error for programs. Its spelling is part of the HTTP API.
type Kind string

// The kinds of Error. The first group is that of Plane 0.5; see docs of each.
const (
	FailedToAcquireKey     Kind = "FailedToAcquireKey"     // someone else took the key in between, three times
	FailedToRemoveKey      Kind = "FailedToRemoveKey"      // an expired key was renewed in between, three times
	KeyUnheldNoSpawnConfig Kind = "KeyUnheldNoSpawnConfig" // nothing runs and nothing says what to run
	KeyHeldUnhealthy       Kind = "KeyHeldUnhealthy"       // held by a drone that can't be reached and whose lease still runs
	KeyHeld                Kind = "KeyHeld"                // held with another tag
	NoDroneAvailable       Kind = "NoDroneAvailable"       // no drone may take it
	NoClusterProvided      Kind = "NoClusterProvided"      // neither request nor controller names a cluster
	NotFound               Kind = "NotFound"
	InvalidClusterName     Kind = "InvalidClusterName"
	Other                  Kind = "Other" // a fault of ours

	BadRequest            Kind = "BadRequest"            // 400, 413, 415 or 422: Field says which
	Unauthorized          Kind = "Unauthorized"          // no or an unknown API key
	Forbidden             Kind = "Forbidden"             // a known caller without the right
	UnsupportedExecutable Kind = "UnsupportedExecutable" // no runtime for it
	CrashLoop             Kind = "CrashLoop"             // ends right after its starts
	Unavailable           Kind = "Unavailable"           // can't be answered now; try again
	StartFailed           Kind = "StartFailed"           // the backend ended before it was ready
	LimitExceeded         Kind = "LimitExceeded"         // a configured limit, named in the message
	DataUnavailable       Kind = "DataUnavailable"       // the key's data is on a drone that can't be reached
)

// Error is an error that a caller of Plane sees. Inside, errors are ordinary
// wrapped errors; an Error is made where a decision is taken.
type Error struct {
	Kind    Kind
	Message string        // a sentence that says what to do, with a full stop
	Field   string        // the field that is wrong, or ""
	Status  int           // HTTP status that differs from the Kind's usual one, or 0
	Retry   time.Duration // when to try again, or 0
	Output  string        // last output of the program concerned, or ""
}

// Error gives kind and message.
func (e *Error) Error() string { return string(e.Kind) + ": " + e.Message }

// NewError makes an Error without further fields.
func NewError(kind Kind, message string) *Error { return &Error{Kind: kind, Message: message} }

// Invalid makes the Error for a field of a well-formed request that has a wrong value.
func Invalid(field, message string) *Error {
	return &Error{Kind: BadRequest, Field: field, Message: message, Status: 422}
}

// IsKind reports whether err is, or wraps, an Error of that kind.
func IsKind(err error, kind Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}
