// Package oci runs backends that are images, without a daemon: the image is
// unpacked once, each backend gets a file system that lies over it, and crun or
// runc makes the container. The warden holds what runs, as for processes.
package oci

import (
	"context"
	"log/slog"
	"net/netip"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/warden"
	"plane/internal/image"
)

// Options of a Runtime. What loosens isolation is here and nowhere else: it is
// the operator's to say, never the caller's.
type Options struct {
	Home   home.Home
	Images *image.Store
	Dial   func(context.Context) (*warden.Client, error) // makes sure that a warden runs and connects to it

	Runtime     string       // crun or runc, by name or path; "" = whichever is found, crun first
	Way         Way          // out of a sandbox's network; nil = none
	MountBase   string       // directory below which an executable's mount lies; "" = no mounts
	CapAdd      []string     // capabilities that backends keep, such as "CAP_CHOWN"
	NoUserNS    bool         // backends run as the host's own users: only where user namespaces are missing
	TmpfsSize   int64        // bytes of /tmp, in memory; 0 = isolation.TmpSize
	DefaultDisk int64        // bytes of a backend's own layer unless it says otherwise; 0 = no limit
	Prepared    Budget       // of prepared sandboxes
	Log         *slog.Logger // nil = none
}

// Way gives a sandbox's network namespace a way out. See package egress.
type Way interface {
	// Attach limits it to e, which isn't none, and to what the operator allows.
	// It may be called twice.
	Attach(ctx context.Context, pid int, id plane.BackendID, e plane.Egress) error
	// Detach removes what Attach made, if it did.
	Detach(ctx context.Context, id plane.BackendID) error
	// Resolvers are what a sandbox with a way out asks for names. There may be none.
	Resolvers() []netip.Addr
}

// Budget bounds the sandboxes that wait to be taken.
type Budget struct {
	Count  int   // at once; 0 = none are prepared
	Memory int64 // bytes, at SandboxMemory each; 0 = no bound
}

// SandboxMemory is what one waiting sandbox costs.
const SandboxMemory = 2 << 20

// most is how many sandboxes may wait.
func (b Budget) most() int {
	if b.Memory > 0 {
		return min(b.Count, int(b.Memory/SandboxMemory))
	}
	return b.Count
}
