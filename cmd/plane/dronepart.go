package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"plane"
	"plane/internal/drone"
	"plane/internal/drone/gate"
	"plane/internal/drone/home"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/offer"
	"plane/internal/drone/reaper"
	deadlines "plane/internal/drone/table"
	"plane/internal/drone/warden"
	"plane/internal/run"
	"plane/internal/runtime"
	"plane/internal/runtime/process"
)

// droneSetup is what dev and drone differ in.
type droneSetup struct {
	name       string // "" = the one kept in the data directory
	cluster    plane.ClusterName
	pool       string
	urls       []string
	header     http.Header
	commands   bool
	baseEnv    []string
	baseDir    string
	ports      drone.PortRange // zero = drone.DefaultPorts
	singleHost bool
	observer   drone.Observer
	admin      adminPart
	images     offer.Options
}

// dronePart is an agent with its reaper and warden beside it.
type dronePart struct {
	*drone.Agent
	processes  *process.Runtime
	containers *offer.Offer
	gate       *gate.Gate
	table      *deadlines.Table
}

// parts that run until the drone is told to leave.
func (d *dronePart) parts() []run.Part {
	return append([]run.Part{{Name: "agent", Run: d.Agent.Run}, {Name: "gate", Run: d.gate.Run}}, d.containers.Parts...)
}

// watchersWait is how long reaper and warden may take to answer.
const watchersWait = 10 * time.Second

// lockDrone takes the data directory for this agent.
func lockDrone(dir string) (home.Home, *home.Lock, error) {
	h, err := home.New(dir)
	if err != nil {
		return h, nil, aboutFile(err)
	}
	lock, err := h.LockAgent()
	if errors.Is(err, home.ErrInUse) {
		return h, nil, err // it says what to do
	}
	return h, lock, err
}

// openDrone makes the agent of the data directory that the caller has locked,
// and starts reaper and warden beside it unless they run.
func openDrone(ctx context.Context, h home.Home, s droneSetup, log *slog.Logger) (*dronePart, error) {
	name, err := keptName(h.Dir, "name", s.name, plane.PrefixDrone)
	if err != nil {
		return nil, err
	}
	boot, err := leaseclock.BootID()
	if err != nil {
		return nil, err
	}
	clock := leaseclock.KindLease
	if s.singleHost {
		clock = leaseclock.KindAwake
	}
	argv, err := watcherCommand("reaper", h, clock)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context) (*warden.Client, error) {
		wait, cancel := context.WithTimeout(ctx, watchersWait)
		defer cancel()
		if err := reaper.Ensure(wait, h, argv); err != nil {
			return nil, err
		}
		return warden.Connect(wait, h)
	}
	processes := process.New(dial, process.Options{Home: h, Log: log})
	if _, err := processes.Connect(ctx); err != nil {
		return nil, fmt.Errorf("start the processes that watch backends: %w", err)
	}
	t, err := deadlines.Open(h.TableFile())
	if err != nil {
		processes.Close()
		return nil, err
	}
	d := &dronePart{processes: processes, table: t, gate: &gate.Gate{Socket: h.GateSocket(), Deadlines: t, Log: log}}
	s.images.Home, s.images.Dial, s.images.Log = h, dial, log
	if d.containers, err = offer.Open(ctx, s.images); err != nil {
		d.close()
		return nil, err
	}
	runtimes, missing := d.runtimes(s)
	d.Agent, err = drone.New(drone.Config{
		Name: name, Cluster: s.cluster, Pool: s.pool, ControllerURLs: s.urls, Header: s.header,
		Home: h, Table: t, Clock: t.Clock(), BootID: boot, WardenInstance: processes.Instance,
		Runtimes: runtimes, Missing: missing, Dial: d.gate.DialAddress,
		Commands: s.commands, BaseEnv: s.baseEnv, BaseDir: s.baseDir, SingleHost: s.singleHost, Ports: s.ports,
		Version: version, Hash: buildHash(), Log: log, Observer: s.observer,
		Metrics: drone.NewMetrics(s.admin.Registry()),
	})
	if err != nil {
		d.close()
		return nil, err
	}
	s.admin.Live("agent", checkWait, d.Alive)
	s.admin.Ready("agent", checkWait, agentReady(d.Agent))
	return d, nil
}

// runtimes are those of images, and that of commands where they may run; missing
// says why one isn't there.
func (d *dronePart) runtimes(s droneSetup) (all map[string]runtime.Runtime, missing map[string]string) {
	all, missing = maps.Clone(d.containers.Runtimes), maps.Clone(d.containers.Missing)
	switch named := s.images.Runtimes; {
	case slices.Contains(named, plane.RuntimeProcess), len(named) == 0 && s.commands:
		all[plane.RuntimeProcess] = d.processes
	case len(named) == 0:
		missing[plane.RuntimeProcess] = "This drone runs commands only if it is told to; give it --runtimes process, with others after a comma."
	default:
		missing[plane.RuntimeProcess] = offer.NotNamed(plane.RuntimeProcess)
	}
	return all, missing
}

// close lets go of warden and table; backends run on.
func (d *dronePart) close() {
	d.containers.Close()
	d.processes.Close()
	_ = d.table.Close()
}

// keptName is given, or the name kept in dir's file, or a new one that is kept there.
func keptName(dir, file, given string, prefix plane.Prefix) (plane.NodeName, error) {
	if given != "" {
		return plane.NodeName(given), plane.CheckNode(plane.NodeName(given), prefix)
	}
	path := filepath.Join(dir, file)
	b, err := os.ReadFile(path)
	if err == nil {
		n := plane.NodeName(strings.TrimSpace(string(b)))
		return n, plane.CheckNode(n, prefix)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", aboutFile(err)
	}
	n := plane.RandomName(rand.Reader, prefix)
	return plane.NodeName(n), aboutFile(writeFile(path, n+"\n"))
}

// writeFile replaces a file whole: a power cut leaves the old or the new one.
func writeFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.WriteString(text); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
