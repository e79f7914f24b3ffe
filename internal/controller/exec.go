package controller

import (
	"context"

	"plane"
	"plane/internal/wire"
)

// ExecRequest is a command to run in a backend.
type ExecRequest struct {
	Argv       []string
	TTY        bool
	Rows, Cols uint16 // of the terminal at first; 0 = not known
}

// Execution is a command that runs in a backend. Its methods for input (Write,
// EndInput, Resize) may be used beside Next; each by one goroutine at a time.
type Execution struct{}

// Exec runs a command in a ready backend for an actor that has the verb exec
// there, and writes so in the log. Its errors are sentences: no such backend,
// Forbidden, not running, its drone isn't connected. What the drone refuses
// comes by Next. The caller closes what it gets; the end of ctx kills the command.
func (c *Controller) Exec(ctx context.Context, a Actor, id plane.BackendID, ask ExecRequest) (*Execution, error) {
	b, err := c.backend(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := a.May(VerbExec, b.Key.Namespace); err != nil {
		return nil, err
	}
	return nil, plane.NewError(plane.Unavailable, "This controller can't run commands in backends yet.")
}

// Write gives input to the command. It waits while wire.ExecWindow bytes are
// under way; it fails once the command has ended.
func (x *Execution) Write(ctx context.Context, p []byte) error { return context.Canceled }

// EndInput says that there is no more input.
func (x *Execution) EndInput() error { return context.Canceled }

// Resize tells the terminal's new size.
func (x *Execution) Resize(rows, cols uint16) error { return context.Canceled }

// Next waits for output, which is taken as passed on by the next call; or for
// the last part, which has Exit or Error (a sentence). An error means that the
// connection to the drone was lost or ctx ended.
func (x *Execution) Next(ctx context.Context) (wire.ExecPart, error) {
	return wire.ExecPart{}, context.Canceled
}

// Close kills the command if it runs still.
func (x *Execution) Close() {}
