// Package offer makes the runtimes of images that a drone of this machine can
// offer, and says exactly what the others miss.
package offer

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/run"
	"plane/internal/runtime"
	"plane/internal/runtime/docker"
	"plane/internal/runtime/egress"
	"plane/internal/runtime/line"
)

// Options say how a drone runs images.
type Options struct {
	Home home.Home
	Dial line.Dial // to the warden

	Runtimes []string // that must be usable; nil = docker and oci where they are
	Unwanted string   // why neither is looked for, a sentence; "" = they are
	Dev      bool     // for one person's machine

	Egress        plane.Egress // the most that containers may reach
	EgressRange   netip.Prefix // that containers get addresses from; the zero value: one that is free
	DockerRuntime string
	OCIRuntime    string // crun or runc, by name or path; "" = whichever is there
	DockerNets    []string
	DockerLog     docker.LogConfig
	MountBase     string
	AutoPrune     bool
	PruneAge      time.Duration
	Quota         int64 // bytes of images; 0 = no limit
	Prepared      int   // sandboxes that are kept ready

	Log *slog.Logger
}

// Offer is what a drone can run images with.
type Offer struct {
	Runtimes map[string]runtime.Runtime
	Missing  map[string]string // runtime → why it isn't offered, sentences
	Parts    []run.Part        // that run as long as the drone does

	closers []func()
}

// Close lets go of everything; backends run on. The nil Offer has nothing.
func (o *Offer) Close() {
	if o == nil {
		return
	}
	for _, f := range o.closers {
		f()
	}
}

// Open makes those that can be used here. One that was asked for by name and
// can't is an error that says what is missing.
func Open(ctx context.Context, o Options) (*Offer, error) {
	f := &Offer{Runtimes: map[string]runtime.Runtime{}, Missing: map[string]string{}}
	m := maker{Options: o, offer: f}
	if o.Unwanted == "" {
		m.way = m.openWay()
	}
	for _, k := range []struct {
		name string
		open func(context.Context) error
	}{{plane.RuntimeOCI, m.openOCI}, {plane.RuntimeDocker, m.openDocker}} {
		asked := slices.Contains(o.Runtimes, k.name)
		switch {
		case o.Unwanted != "":
			f.Missing[k.name] = o.Unwanted
			continue
		case len(o.Runtimes) > 0 && !asked:
			f.Missing[k.name] = NotNamed(k.name)
			continue
		}
		err := k.open(ctx)
		if err != nil && asked {
			f.Close()
			return nil, fmt.Errorf("the runtime %s can't be used here: %w", k.name, err)
		}
		if err != nil {
			f.Missing[k.name] = Sentences(err)
			o.Log.Info("a runtime can't be used here", "runtime", k.name, "missing", f.Missing[k.name])
		}
	}
	if o.Dev && o.Unwanted == "" && len(f.Runtimes) == 0 {
		f.Close()
		return nil, fmt.Errorf("nothing here can run images\noci: %s\ndocker: %s", f.Missing[plane.RuntimeOCI], f.Missing[plane.RuntimeDocker])
	}
	if len(f.Runtimes) > 0 {
		f.Parts = append(f.Parts, run.Part{Name: "ways out", Run: m.keepWays})
	}
	return f, nil
}

// NotNamed says why a runtime isn't offered that could be.
func NotNamed(runtime string) string {
	return fmt.Sprintf("This drone's --runtimes doesn't name it; add %s there.", runtime)
}

// maker puts an offer together.
type maker struct {
	Options
	offer *Offer
	way   *egress.Way
}
