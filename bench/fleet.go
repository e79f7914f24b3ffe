package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane/internal/clustertest"
	"plane/internal/dockertest"
	"plane/internal/image/imagetest"
)

// fleet is a cluster with a drone for each way to run a program, in a pool of
// the way's name, so that all of them share controller, proxy and moment.
type fleet struct {
	*session
	api, proxy string
	engine     *dockertest.Engine
	drones     map[string]*clustertest.Part
	dirs       map[string]string // data directories
}

// What the ways run: the same program, as a file and in an image.
const fleetImage = "bench:1"

// preparedCount is how many sandboxes the drone keeps ready that does.
const preparedCount = 8

func (s *session) startFleet() (*fleet, error) {
	f := &fleet{session: s, drones: map[string]*clustertest.Part{}, dirs: map[string]string{}}
	img := imagetest.EchoImage(s)
	f.engine = dockertest.Start(s, dockertest.Options{Bridged: true})
	f.engine.Load(s, img, fleetImage)
	archive := imagetest.Archive(s, map[string]v1.Image{fleetImage: img})

	apiPort, proxyPort := clustertest.FreePort(s), clustertest.FreePort(s)
	f.api, f.proxy = "http://127.0.0.1:"+apiPort, "127.0.0.1:"+proxyPort
	cluster := "localhost:" + proxyPort
	clustertest.Start(s, s.TempDir(), nil, "controller", "--insecure", "--host", "127.0.0.1", "--port", apiPort,
		"--db", "sqlite:"+s.TempDir()+"/plane.db", "--data-dir", s.TempDir(), "--default-cluster", cluster)
	if err := s.eventually("the controller serves", func() bool { return s.get("127.0.0.1:"+apiPort, f.api+"/pub/health") == nil }); err != nil {
		return nil, err
	}
	clustertest.Start(s, s.TempDir(), nil, "proxy", "--insecure", "--controller-url", f.api, "--cluster", cluster, "--http-port", proxyPort)
	s.Cleanup(f.left) // after the drones' end
	for i, d := range []struct {
		pool  string
		flags []string
	}{
		{"process", []string{"--runtimes", "process"}},
		{"crun", []string{"--runtimes", "oci", "--oci-runtime", "crun", "--prepared", "0"}},
		{"runc", []string{"--runtimes", "oci", "--oci-runtime", "runc", "--prepared", "0"}},
		{"prepared", []string{"--runtimes", "oci", "--oci-runtime", "crun", "--prepared", fmt.Sprint(preparedCount)}},
		{"docker", []string{"--runtimes", "docker"}},
	} {
		dir := filepath.Join(s.TempDir(), d.pool)
		f.dirs[d.pool] = dir
		engine := "DOCKER_HOST=unix:///nowhere"
		if d.pool == "docker" {
			engine = "DOCKER_HOST=" + f.engine.Host
		}
		if strings.Contains(d.flags[1], "oci") {
			pull := clustertest.Start(s, s.TempDir(), []string{engine}, "image", "import", "--data-dir", dir, archive)
			if err := pull.WaitExit(time.Minute); err != nil || pull.ExitCode() != 0 {
				return nil, fmt.Errorf("import the image: %w: %s", err, pull.Stderr())
			}
		}
		f.drones[d.pool] = clustertest.Start(s, s.TempDir(), []string{engine}, append([]string{
			"drone", "--insecure", "--controller-url", f.api, "--cluster", cluster, "--data-dir", dir,
			"--pool", d.pool, "--ports", fmt.Sprintf("%d-%d", 23000+1000*i, 23999+1000*i),
		}, d.flags...)...)
		if err := f.awaitDrone(d.pool); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, f.drones[d.pool].Stderr())
		}
	}
	return f, nil
}

func (f *fleet) awaitDrone(pool string) (err error) {
	return firstError(f.eventually("the drone of "+pool+" takes a start", func() bool {
		var stop func() error
		if _, stop, err = f.start(pool, "first-"+pool); err == nil {
			err = stop()
		}
		return err == nil
	}), err)
}

func firstError(a, b error) error {
	if a != nil && b != nil {
		return fmt.Errorf("%w: %w", a, b)
	}
	return a
}

// start measures connect → first byte of a new key. stop ends it.
func (f *fleet) start(pool, key string) (took time.Duration, stop func() error, err error) {
	executable := map[string]any{"image": fleetImage}
	if pool == "process" {
		executable = map[string]any{"command": []string{clustertest.Build(f).Echo}}
	}
	body, err := json.Marshal(map[string]any{
		"key": map[string]string{"name": key}, "spawn_config": map[string]any{"pool": pool, "executable": executable},
	})
	if err != nil {
		return 0, nil, err
	}
	begin := time.Now()
	c, err := f.connectBody(f.api, body)
	if err != nil {
		return 0, nil, err
	}
	err = f.get(f.proxy, c.URL)
	took = time.Since(begin)
	if err != nil {
		why, _ := f.text(strings.TrimPrefix(f.api, "http://"), f.api+"/ctrl/backends?limit=5")
		err = fmt.Errorf("%w after %s: of %s, latest backends: %s\n%s", err, took, c.BackendID, why, f.drones[pool].Stderr())
	}
	return took, func() error { return f.terminate(f.api, c.BackendID) }, err
}

// cpu is what the parts of a drone have used of the processors, and what they
// started and has ended.
func (f *fleet) cpu(pool string) time.Duration {
	part := f.drones[pool]
	if part == nil {
		return 0
	}
	all := cpuTime(part.Pid())
	for _, watcher := range []string{"warden", "reaper"} {
		pid := clustertest.LockHolder(f.dirs[pool], watcher)
		all += cpuTime(pid) + cpuTimeOfEnded(pid)
	}
	return all
}

// settle waits until nothing runs any more, and the stock is full again.
func (f *fleet) settle() error {
	return f.eventually("all backends have ended", func() bool {
		return len(clustertest.ListBackends(f, f.api)) == 0 && f.stocked() >= preparedCount
	})
}

// stocked is how many prepared sandboxes wait.
func (f *fleet) stocked() int {
	n := 0
	entries, _ := os.ReadDir(filepath.Join(f.dirs["prepared"], "bundles"))
	taken := map[string]bool{}
	for _, e := range entries {
		if at, err := os.Readlink(filepath.Join(f.dirs["prepared"], "bundles", e.Name())); err == nil {
			taken[at] = true
		}
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(f.dirs["prepared"], "bundles", e.Name(), "pid")); err == nil && strings.HasPrefix(e.Name(), "sb-") && !taken[e.Name()] {
			n++
		}
	}
	return n
}

// left waits until reaper and warden of each drone have left, as they do when
// nobody has needed them for a while.
func (f *fleet) left() {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		n := 0
		for _, dir := range f.dirs {
			n += clustertest.LockHolder(dir, "warden") + clustertest.LockHolder(dir, "reaper")
		}
		if n == 0 {
			return
		}
	}
	f.Errorf("the watchers of a drone stay: %v", f.dirs)
}

func (s *session) eventually(what string, ok func() bool) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return nil
		}
		if interrupted.Load() {
			return errors.New("interrupted")
		}
	}
	return fmt.Errorf("not within 30 s: %s", what)
}
