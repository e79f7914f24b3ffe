// Package docker runs backends in containers of a Docker engine, or of another
// that speaks its API. The engine starts them; that they end in time is up to
// the warden, which knows of a container before the engine does. Nothing here
// believes a request to have failed because its answer did not come: outcomes
// are found by looking.
package docker

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/means"
	"plane/internal/flight"
	"plane/internal/runtime"
	"plane/internal/runtime/line"
)

// Options of a Runtime.
type Options struct {
	Home home.Home
	Host string    // of the engine, "unix:///var/run/docker.sock"; "" = DOCKER_HOST, else the usual one
	Dial line.Dial // to the warden
	Way  Way       // out of a container's network; nil = none

	Networks       []string // of the engine, that an executable may name
	EngineRuntime  string   // of the engine: "runsc", …; "" = its default
	Log            LogConfig
	MountBase      string   // directory below which executables may mount; "" = none
	CapAdd         []string // capabilities that backends keep
	EngineDefaults bool     // the engine's usual capabilities, in place of CapAdd

	AutoPruneImages bool          // remove images that were pulled here and aren't used
	PruneAge        time.Duration // of stopped containers and unused images before they are removed
	Dev             bool          // for one person's machine: ports may be published on 127.0.0.1
	Afar            bool          // the engine is taken to run in a machine of its own, as Docker Desktop's does

	Logger *slog.Logger // nil = none
}

// LogConfig is how the engine keeps output; the zero value is files of 10 MB.
type LogConfig struct {
	Type   string            `json:"Type"`
	Config map[string]string `json:"Config"`
}

// Way gives a container's network namespace a way out. See package egress.
type Way interface {
	// Attach limits it to e, which isn't none. It may be called twice.
	Attach(ctx context.Context, pid int, id plane.BackendID, e plane.Egress) error
	// Detach removes what Attach made, if it did.
	Detach(ctx context.Context, id plane.BackendID) error
	// Resolvers are what a container with a way out asks for names. There may be none.
	Resolvers() []netip.Addr
}

// Runtime runs images. Safe for concurrent use.
type Runtime struct {
	*line.Line
	o      Options
	log    *slog.Logger
	engine *client.Client
	pulls  flight.Group[pullKey, struct{}, runtime.Progress]
	images *records
	closed chan struct{}  // by Close
	duties sync.WaitGroup // what goes on after a Start was given up

	mu     sync.Mutex // guards the fields below
	reach  reach
	filter string // of system calls; "" = the engine's own
	marks  *means.Means
	sizes  map[plane.BackendID]size
}

var (
	_ runtime.Runtime = (*Runtime)(nil)
	_ runtime.Logger  = (*Runtime)(nil)
	_ runtime.Meter   = (*process)(nil)
	_ runtime.Execer  = (*process)(nil)
)

// New makes a Runtime. It asks nothing of the engine, which may be started later.
func New(o Options) (*Runtime, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := openEngine(o.Host)
	if err != nil {
		return nil, err
	}
	o.unpinAll()
	return &Runtime{
		Line: line.New(o.Dial, o.Home, o.Logger), o: o, log: o.Logger, engine: c,
		images: openRecords(o.Home.Dir), closed: make(chan struct{}),
		sizes: map[plane.BackendID]size{},
	}, nil
}

// Close lets go of engine and warden, and waits for what goes on in the
// background. Containers run on.
func (r *Runtime) Close() {
	r.mu.Lock()
	select {
	case <-r.closed:
	default:
		close(r.closed)
	}
	r.mu.Unlock()
	r.duties.Wait()
	_ = r.engine.Close()
	r.Line.Close()
}

// living is a context that ends with ctx, or with the runtime.
func (r *Runtime) living(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-r.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
