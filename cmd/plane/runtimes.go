package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/drone/warden"
	"plane/internal/image"
	"plane/internal/run"
	"plane/internal/runtime"
	"plane/internal/runtime/docker"
	"plane/internal/runtime/egress"
	"plane/internal/runtime/oci"
)

// imageSetup says how a drone runs images.
type imageSetup struct {
	runtimes      []string // that must be usable; nil = docker and oci where they are
	wanted        bool     // false = neither is looked for
	dev           bool
	egress        plane.Egress
	egressRange   netip.Prefix
	dockerRuntime string
	dockerNets    []string
	dockerLog     docker.LogConfig
	mountBase     string
	autoPrune     bool
	pruneAge      time.Duration
	quota         int64
	prepared      int
}

// imageFlags are those of `plane drone` about images.
type imageFlags struct {
	runtimes, networks                          []string
	egress, dockerRuntime, logConfig, mountBase string
	egressRange                                 string
	autoPrune                                   bool
	pruneAge                                    int64
	quota                                       int64
	prepared                                    int
}

func (f *imageFlags) bind(fl *pflag.FlagSet) {
	fl.StringSliceVar(&f.runtimes, "runtimes", nil, "what runs backends here: process, docker, oci (default: docker and oci where they can be used)")
	fl.StringVar(&f.egress, "egress", "none", "the most that containers may reach: none, public, or addresses such as 198.51.100.7:443 with commas between")
	bindEgressRange(fl, &f.egressRange)
	fl.StringVar(&f.dockerRuntime, "docker-runtime", "", "runtime that the Docker engine uses, e.g. runsc (default: its own)")
	fl.StringSliceVar(&f.networks, "docker-networks", nil, "networks of the Docker engine that an executable may name")
	fl.StringVar(&f.logConfig, "log-config", "", `how the Docker engine keeps output, as JSON: {"Type":"…","Config":{…}}`)
	fl.StringVar(&f.mountBase, "mount-base", "", "directory below which executables may mount one of their own (default: none may)")
	fl.BoolVar(&f.autoPrune, "auto-prune-images", false, "remove images that this drone pulled and nothing uses")
	fl.Int64Var(&f.pruneAge, "auto-prune-containers-older-than-seconds", 0, "age in seconds from which stopped containers of this drone, and unused images, are removed")
	fl.Int64Var(&f.quota, "image-quota", 0, "bytes that the oci runtime's images may take; unused ones are removed (default: no limit)")
	fl.IntVar(&f.prepared, "prepared", 0, "how many sandboxes the oci runtime keeps ready, at 2 MB each; 0 = none")
}

func bindEgressRange(fl *pflag.FlagSet, to *string) {
	fl.StringVar(to, "egress-range", "", "range of IPv4 that containers with egress get addresses from, which no network of this machine uses (default: "+egress.Ranges[0].String()+", or another that is free)")
}

// parseEgressRange reads that flag; "" is the zero value.
func parseEgressRange(s string) (p netip.Prefix, err error) {
	if s == "" {
		return p, nil
	}
	if p, err = netip.ParsePrefix(s); err == nil {
		err = egress.CheckRange(p)
	}
	if err != nil {
		return p, misusef("--egress-range %q: use a range of IPv4 with 16 addresses or more, such as %s", s, egress.Ranges[0])
	}
	return p, nil
}

func (f *imageFlags) setup() (imageSetup, error) {
	s := imageSetup{
		runtimes: f.runtimes, wanted: len(f.runtimes) == 0 || slices.ContainsFunc(f.runtimes, func(r string) bool { return r != plane.RuntimeProcess }),
		dockerRuntime: f.dockerRuntime, dockerNets: f.networks, mountBase: f.mountBase, autoPrune: f.autoPrune,
		pruneAge: time.Duration(f.pruneAge) * time.Second, quota: f.quota, prepared: f.prepared,
	}
	for _, r := range f.runtimes {
		if r != plane.RuntimeProcess && r != plane.RuntimeDocker && r != plane.RuntimeOCI {
			return s, misusef("--runtimes has %q; use process, docker and oci with commas between them", r)
		}
	}
	var err error
	if s.egress, err = plane.ParseEgress(f.egress); err != nil {
		return s, misusef("--egress %v", err)
	}
	if s.egressRange, err = parseEgressRange(f.egressRange); err != nil {
		return s, err
	}
	if f.logConfig != "" {
		if err := json.Unmarshal([]byte(f.logConfig), &s.dockerLog); err != nil {
			return s, misusef(`--log-config: %v; give JSON like {"Type":"json-file","Config":{"max-size":"10m"}}`, err)
		}
	}
	switch {
	case f.pruneAge < 0:
		return s, misusef("--auto-prune-containers-older-than-seconds %d must be 0 or more", f.pruneAge)
	case f.quota < 0:
		return s, misusef("--image-quota %d must be 0 or more", f.quota)
	case f.prepared < 0:
		return s, misusef("--prepared %d must be 0 or more", f.prepared)
	}
	if f.mountBase != "" {
		if st, err := os.Stat(f.mountBase); err != nil || !st.IsDir() {
			return s, misusef("--mount-base %s is no directory; make it", f.mountBase)
		}
	}
	return s, nil
}

// containers are the runtimes of images that a drone offers.
type containers struct {
	runtimes map[string]runtime.Runtime
	parts    []run.Part
	closers  []func()
	missing  map[string]string // runtime → why it isn't offered
	way      *egress.Way
}

func (c *containers) close() {
	for _, f := range c.closers {
		f()
	}
}

// openContainers makes those that can be used here. One that was asked for by
// name and can't is an error that says what is missing.
func openContainers(ctx context.Context, h home.Home, s imageSetup, dial wardenDial, log *slog.Logger) (*containers, error) {
	c := &containers{runtimes: map[string]runtime.Runtime{}, missing: map[string]string{}}
	if !s.wanted {
		return c, nil
	}
	c.way = egress.New(egress.Options{Hash: h.Hash(), Allowed: s.egress, Range: s.egressRange, Log: log})
	if err := c.way.Check(); err != nil && s.dev {
		// Better a container without a network than none.
		log.Warn("containers get no way out here", "missing", err)
		c.way = egress.New(egress.Options{Hash: h.Hash(), Log: log})
	}
	c.parts = append(c.parts, run.Part{Name: "ways out", Run: func(ctx context.Context) error { return c.keepWays(ctx, log) }})
	for name, open := range map[string]func() error{
		plane.RuntimeOCI:    func() error { return c.openOCI(ctx, h, s, dial, log) },
		plane.RuntimeDocker: func() error { return c.openDocker(ctx, h, s, dial, log) },
	} {
		asked := slices.Contains(s.runtimes, name)
		if len(s.runtimes) > 0 && !asked {
			continue
		}
		if err := open(); err != nil {
			if asked {
				c.close()
				return nil, fmt.Errorf("the runtime %s can't be used here: %w", name, err)
			}
			c.missing[name] = err.Error()
			log.Info("a runtime can't be used here", "runtime", name, "missing", err)
		}
	}
	if s.dev && len(c.runtimes) == 0 {
		return nil, fmt.Errorf("nothing here can run images. oci: %s docker: %s", c.missing[plane.RuntimeOCI], c.missing[plane.RuntimeDocker])
	}
	return c, nil
}

// sweepEvery is how often ways out of ended backends are looked for, until once
// every runtime has told what it runs.
const sweepEvery = 10 * time.Second

// keepWays removes what a killed agent left of ways out, and then keeps their
// rules where they are.
func (c *containers) keepWays(ctx context.Context, log *slog.Logger) error {
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		t := time.NewTicker(sweepEvery)
		defer t.Stop()
		for {
			err := c.sweepWays(ctx)
			if err == nil {
				return
			}
			log.Debug("ways out of ended backends are looked for later", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
		}
	}()
	err := c.way.Run(ctx)
	<-swept
	return err
}

func (c *containers) sweepWays(ctx context.Context) error {
	var live []plane.BackendID
	for _, r := range c.runtimes {
		found, err := r.Found(ctx)
		if err != nil {
			return err
		}
		for _, f := range found {
			live = append(live, f.Backend)
		}
	}
	return c.way.Sweep(ctx, live)
}

func (c *containers) openOCI(ctx context.Context, h home.Home, s imageSetup, dial wardenDial, log *slog.Logger) error {
	source, err := docker.OpenSource("")
	if err != nil {
		return err
	}
	images, err := image.Open(h.Images(), image.Options{Log: log, Shift: image.UserNamespace, Quota: s.quota, Engine: localEngine{source}})
	if err != nil {
		return err
	}
	r := oci.New(oci.Options{
		Home: h, Images: images, Dial: dial, Way: c.way, MountBase: s.mountBase,
		Prepared: oci.Budget{Count: s.prepared}, Log: log,
	})
	if err := r.Check(ctx); err != nil {
		r.Close()
		_ = source.Close()
		return err
	}
	c.runtimes[plane.RuntimeOCI] = r
	c.closers = append(c.closers, r.Close, func() { _ = source.Close() })
	c.parts = append(c.parts, run.Part{Name: "oci runtime", Run: r.Run}, run.Part{Name: "images", Run: func(ctx context.Context) error { return collectImages(ctx, images, log) }})
	return nil
}

// collectEvery is how often images beyond the quota are looked for.
const collectEvery = time.Minute

func collectImages(ctx context.Context, images *image.Store, log *slog.Logger) error {
	t := time.NewTicker(collectEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if err := images.GC(0); err != nil {
			log.Warn("unused images could not be removed", "error", err)
		}
	}
}

func (c *containers) openDocker(ctx context.Context, h home.Home, s imageSetup, dial wardenDial, log *slog.Logger) error {
	r, err := docker.New(docker.Options{
		Home: h, Dial: dial, Networks: s.dockerNets, EngineRuntime: s.dockerRuntime, Log: s.dockerLog, MountBase: s.mountBase,
		Way: c.way, AutoPruneImages: s.autoPrune, PruneAge: s.pruneAge, Dev: s.dev, Logger: log,
	})
	if err != nil {
		return err
	}
	// An engine that was asked for by name may be started later.
	if err := r.Check(ctx); err != nil && !slices.Contains(s.runtimes, plane.RuntimeDocker) {
		r.Close()
		return err
	}
	c.runtimes[plane.RuntimeDocker] = r
	c.closers = append(c.closers, r.Close)
	c.parts = append(c.parts, run.Part{Name: "docker runtime", Run: r.Run})
	return nil
}

// localEngine is a Docker engine as the image store sees it.
type localEngine struct{ source *docker.Source }

func (e localEngine) Inspect(ctx context.Context, ref image.Ref) (string, error) {
	id, err := e.source.Inspect(ctx, string(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return "", image.ErrNotThere
	}
	return id, err
}

func (e localEngine) Save(ctx context.Context, ref image.Ref) (io.ReadCloser, error) {
	return e.source.Save(ctx, string(ref))
}

// wardenDial makes sure that a warden runs and connects to it.
type wardenDial = func(context.Context) (*warden.Client, error)
