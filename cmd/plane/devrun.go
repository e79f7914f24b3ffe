package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"plane"
	"plane/internal/api"
	"plane/internal/controller"
	"plane/internal/drone"
	"plane/internal/drone/offer"
	"plane/internal/proxy"
	"plane/internal/run"
)

func runDev(ctx context.Context, f devFlags, command []string) error {
	// From here on a signal ends the backends first, also those that are taken
	// over while this starts.
	signals, stop := endSignals(ctx)
	defer stop()
	ctx = context.WithoutCancel(ctx)
	// A terminal or pipe that is closed takes no more lines, and ends nothing.
	closed := make(chan os.Signal, 1)
	signal.Notify(closed, syscall.SIGPIPE)
	defer signal.Stop(closed)
	wd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the working directory: %w", err)
	}
	apps, err := chooseApps(os.Stdin, wd, f, command)
	if err != nil {
		return err
	}
	space, err := parseEgressRange(f.egressRange)
	if err != nil {
		return err
	}
	dir := cmp.Or(f.dataDir, devDataDir(wd))
	h, lock, err := lockDrone(dir)
	if err != nil {
		return err
	}
	defer lock.Release()
	apiListener, err := devListen("--api", f.api, devAPI)
	if err != nil {
		return err
	}
	defer apiListener.Close()
	proxyListener, err := devListen("--proxy", f.proxy, devProxy)
	if err != nil {
		return err
	}
	defer proxyListener.Close()

	if f.dataDir != "" {
		dir = h.Dir
	}
	if err := noteDevDataDir(wd, dir); err != nil {
		return aboutFile(err)
	}
	log, level, err := devLog(h.Log("dev"))
	if err != nil {
		return aboutFile(err)
	}
	adm, err := openAdmin(f.flags, log.With("part", "dev"), level)
	if err != nil {
		return err
	}
	defer adm.close()
	cluster, err := devClusterName(dir, f.cluster)
	if err != nil {
		return err
	}
	apiURL := "http://" + apiListener.Addr().String()
	proxyHost := "localhost:" + strconv.Itoa(proxyListener.Addr().(*net.TCPAddr).Port)

	var d dev
	c, err := openController(ctx, controllerSetup{
		dbPath: filepath.Join(dir, "plane.db"), operator: operatorSocket(h.Dir), listener: apiListener, admin: adm,
		config: controller.Config{
			Name: devController, DefaultCluster: cluster, URL: apiURL, Dev: true, SingleHost: true,
			PublicHost: map[plane.ClusterName]string{cluster: proxyHost},
			DefaultApp: apps.defaultApp, Reload: len(f.watch) > 0, MaxBackends: f.maxBackends, CleanupMinAge: f.keepEnded,
			DefaultMaxIdle: defaultMaxIdle(f.idle), OnlyApplied: true,
			Version: version, Hash: buildHash(),
		},
		api: api.Options{
			Insecure: true, Hosts: []string{string(cluster)}, Unnamed: true, DefaultCluster: cluster, Project: realDir(wd),
			Ready:   func(context.Context) error { return d.healthy() },
			Version: version, Hash: buildHash(),
		},
	}, log.With("part", "controller"))
	if err != nil {
		return err
	}
	defer c.close()
	show := newConsole(os.Stdout, f.json)
	defer show.release()
	show.quiet = f.quiet
	if err := apps.apply(ctx, c.Controller, show); err != nil {
		return err
	}
	crashes := newCrashWatch(c.Controller, show)
	show.ended = crashes.look
	agent, err := openDrone(ctx, h, droneSetup{
		cluster: cluster, urls: []string{apiURL}, commands: true, baseEnv: os.Environ(), baseDir: wd, singleHost: true, observer: show, admin: adm,
		images: offer.Options{
			Unwanted: apps.noImages(), Runtimes: devRuntimes(f.runtime), Dev: true, Egress: plane.Egress{Public: true}, EgressRange: space, Prepared: devPrepared,
		},
	}, log.With("part", "drone"))
	if err != nil {
		return err
	}
	defer agent.close()
	p, err := proxy.New(proxy.Config{
		Dial:    agent.gate.DialAddress,
		Metrics: proxy.NewMetrics(adm.Registry()),
		Name:    devProxyName, Cluster: cluster, Hosts: []string{proxyHost, proxyListener.Addr().String()},
		ControllerURLs: []string{apiURL}, Version: version, Hash: buildHash(), Log: log.With("part", "proxy"),
		// It leaves when all backends have ended: whoever still waits gets none.
		Timeouts: proxy.Timeouts{Drain: time.Second},
	})
	if err != nil {
		return err
	}
	adm.Live("proxy", checkWait, p.Alive)
	adm.Ready("proxy", checkWait, proxyReady(p))
	d = dev{
		show: show, agent: agent.Agent, controller: c.Controller, apps: apps, dir: dir,
		listening: listening{API: apiURL, Proxy: "http://" + proxyHost}, proxyReady: p.Ready,
		parts: append(slices.Concat(c.parts(), adm.parts(), agent.parts()),
			run.Part{Name: "proxy", Run: func(ctx context.Context) error { return p.Run(ctx, proxyListener) }},
			run.Part{Name: "crashes", Run: crashes.run}),
	}
	if len(f.watch) > 0 {
		w, err := newDevWatch(d, f.watch, wd)
		if err != nil {
			return err
		}
		d.parts = append(d.parts, run.Part{Name: "watch", Run: w.Run})
	}
	return d.run(ctx, signals)
}

// dev is everything in one process, put together.
type dev struct {
	show       *console
	agent      *drone.Agent
	controller *controller.Controller
	apps       *devApps
	dir        string
	listening  listening
	proxyReady func() bool
	parts      []run.Part
}

// healthy gives nil once everything works, with what ran before taken over.
func (d dev) healthy() error {
	switch {
	case !d.proxyReady():
		return errors.New("the proxy isn't connected to the controller")
	case !d.agent.Ready():
		return errors.New("the agent has no lease yet")
	}
	return nil
}

// run serves until a signal, then ends the backends while everything still
// works, then leaves.
func (d dev) run(ctx context.Context, signals <-chan os.Signal) error {
	conductor := run.Part{Name: "dev", Run: func(ctx context.Context) error {
		if d.announce(ctx, signals) {
			select {
			case <-ctx.Done():
			case <-signals:
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		d.show.note("ending all backends; once more ends them at once")
		end, hurry := context.WithCancel(context.WithoutCancel(ctx))
		defer hurry()
		go func() {
			select {
			case <-signals:
				hurry()
			case <-end.Done():
			}
		}()
		if err := d.endAll(end); err != nil {
			return err
		}
		d.show.closed()
		return nil
	}}
	return run.All(ctx, append(d.parts, conductor)...)
}

// announce prints the URL once it works. It reports false if a signal came
// before, or ctx is done.
func (d dev) announce(ctx context.Context, signals <-chan os.Signal) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for d.healthy() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-signals:
			return false
		case <-tick.C:
		}
	}
	if err := errors.Join(noteListening(d.dir, d.listening), d.replaceOld(ctx)); err != nil && ctx.Err() == nil {
		d.show.warn(sentence(err))
	}
	_, host, _ := strings.Cut(d.listening.Proxy, "://")
	d.show.listening(d.listening, d.apps.shown(host))
	return true
}

// adoption is how long the end of everything waits for what ran before to be
// taken over, so that it is ended too.
const adoption = 10 * time.Second

func (d dev) endAll(ctx context.Context) error {
	for began := time.Now(); ; {
		err := d.agent.EndAll(ctx)
		if !errors.Is(err, drone.ErrNotRunning) || time.Since(began) > adoption {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
