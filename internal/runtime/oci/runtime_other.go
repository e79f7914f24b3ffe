//go:build !linux

package oci

import (
	"context"
	"errors"
	"io"

	"plane"
	"plane/internal/runtime"
)

// Runtime isn't to be had here.
type Runtime struct{}

var errLinux = errors.New("the oci runtime needs Linux; use the docker runtime on this machine")

// New makes one that says so.
func New(Options) *Runtime { return &Runtime{} }

// Check says that it isn't to be had.
func (*Runtime) Check(context.Context) error { return errLinux }

// Lacks finds nothing beside that.
func (*Runtime) Lacks(context.Context) error { return nil }

// Close does nothing.
func (*Runtime) Close() {}

// Run returns when ctx is done.
func (*Runtime) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Prepare fails.
func (*Runtime) Prepare(context.Context, runtime.Unit, func(runtime.Progress)) (runtime.Prepared, error) {
	return runtime.Prepared{}, errLinux
}

// Start fails.
func (*Runtime) Start(context.Context, runtime.Unit) (runtime.Process, error) { return nil, errLinux }

// Found finds nothing.
func (*Runtime) Found(context.Context) ([]runtime.Found, error) { return nil, nil }

// Attach finds nothing.
func (*Runtime) Attach(context.Context, plane.BackendID) (runtime.Process, error) {
	return nil, runtime.ErrGone
}

// Output finds nothing.
func (*Runtime) Output(context.Context, plane.BackendID, int, bool) (io.ReadCloser, error) {
	return nil, runtime.ErrGone
}

// About says the same.
func (*Runtime) About(context.Context) string { return errLinux.Error() }
