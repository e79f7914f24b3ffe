package clustertest

import (
	"archive/tar"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane/internal/clustertest/overlap"
	"plane/internal/image/imagetest"
)

// startImageCity is a city whose backends are containers. They see the file of
// lives through a mount.
func startImageCity(t *testing.T, drones, keys int, runtime string, flags ...string) *city {
	t.Helper()
	y := newYard(t, runtime, flags...)
	img := imagetest.Image(t, v1.Config{Entrypoint: []string{"/backend"}, WorkingDir: "/"},
		imagetest.Layer(t, imagetest.File{Name: "tmp/", Type: tar.TypeDir, Mode: 0o1777}),
		imagetest.Layer(t, imagetest.File{Name: "backend", Body: imagetest.Program(t, "plane/internal/clustertest/overlap/backend"), Mode: 0o755}))
	base := t.TempDir()
	shared := filepath.Join(base, "lives")
	if err := os.Mkdir(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	c := beginCity(t, drones, OfDrone{Runtimes: "process," + runtime, Flags: []string{"--mount-base", base}, Env: y.env()}, &city{
		yard: y, keys: keys, file: filepath.Join(shared, "lives"),
		backend: map[string]any{
			"image": y.registry.Push(t, "backend:1", img), "runtime": runtime, "mount": "lives",
			"env": map[string]string{overlap.Env: "/plane-data/lives"},
		},
	})
	return c
}

// chaosOf runs the chaos of one runtime, and looks for what it leaves.
func chaosOf(t *testing.T, runtime string, keys int, least int64) {
	if !soak() {
		t.Skip("make soak runs it: minutes of starts beside nothing else")
	}
	const length = 2 * time.Minute
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := startImageCity(t, 2, keys, runtime, "--live-restore")
	var more []func(context.Context, *rand.Rand, *counts)
	if c.engine != nil {
		more = append(more, c.troubleEngine)
	}
	c.chaos(length, seed, least, more...)
	c.end()
}

func TestChaosOfOCI(t *testing.T) { chaosOf(t, "oci", 30, 25) }

func TestChaosOfDocker(t *testing.T) { chaosOf(t, "docker", 15, 5) }

// troubleEngine kills, or stops, the Docker engine, and starts it again.
func (c *city) troubleEngine(ctx context.Context, r *rand.Rand, did *counts) {
	for pause(ctx, between(r, time.Second, 6*time.Second)) {
		if r.IntN(2) == 0 {
			c.engine.Freeze(c.t)
			did.stops.Add(1)
			pause(ctx, between(r, 50*time.Millisecond, 2*time.Second))
			c.engine.Thaw(c.t)
			continue
		}
		c.engine.Kill9(c.t)
		did.kills.Add(1)
		pause(ctx, between(r, 0, time.Second))
		c.engine.Restart(c.t)
	}
}

// end makes every backend absent, through the API, and looks for what is left.
func (c *city) end() {
	c.t.Helper()
	await(c.t, 60*time.Second, "all backends are absent", func() bool {
		rows, err := c.rows()
		for _, b := range rows {
			terminate(c.API, b.BackendID)
		}
		return err == nil && len(rows) == 0 && len(overlap.Running(c.lives.Lives())) == 0
	})
	for i, home := range c.homes {
		c.leavesNothing(home)
		if c.yard.t.Failed() {
			c.t.Logf("its drone said:\n%s", tail(c.drones[i]))
		}
	}
}
