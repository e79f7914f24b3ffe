//go:build !linux

package egress

import (
	"context"
	"errors"
	"net/netip"

	"plane"
)

// Way isn't to be had here.
type Way struct{}

// New makes a Way that gives none.
func New(Options) *Way { return &Way{} }

var errLinux = errors.New("containers get a way out on Linux only")

// Check says so.
func (*Way) Check() error { return errLinux }

// Attach fails.
func (*Way) Attach(context.Context, int, plane.BackendID, plane.Egress) error { return errLinux }

// Detach does nothing.
func (*Way) Detach(context.Context, plane.BackendID) error { return nil }

// Sweep does nothing.
func (*Way) Sweep(context.Context, []plane.BackendID) error { return nil }

// Resolvers are none.
func (*Way) Resolvers() []netip.Addr { return nil }

// Run waits for the end of ctx.
func (*Way) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
