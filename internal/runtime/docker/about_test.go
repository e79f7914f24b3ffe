package docker_test

import (
	"strings"
	"testing"

	"plane/internal/dockertest"
	"plane/internal/runtime/docker"
)

// An engine says of itself what some executables can't have.
func TestWhatAnEngineLacksIsTold(t *testing.T) {
	g := newRigAt(t, dockertest.Start(t, dockertest.Options{}))
	ctx := t.Context()
	if err := g.r.Check(ctx); err != nil {
		t.Errorf("a good engine: %v", err)
	}
	if about := g.r.About(ctx); !strings.Contains(about, "engine ") || !strings.Contains(about, g.engine.Host) || !strings.Contains(about, "cgroups v") {
		t.Errorf("about: %q", about)
	}
	lacks := g.r.Lacks(ctx)
	if lacks == nil || !strings.Contains(lacks.Error(), "--live-restore") || strings.Contains(lacks.Error(), "memory_limit_bytes") {
		t.Errorf("lacks: %v", lacks)
	}
	odd := g.runtime(func(o *docker.Options) {
		o.EngineRuntime, o.Networks, o.MountBase = "runsc", []string{"lan"}, g.home.Dir+"/none"
	})
	defer odd.Close()
	err := odd.Check(ctx)
	for _, want := range []string{`no runtime "runsc"; install it`, "docker network create lan", "is not a directory; make it"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("three things are missing: %v, want %q", err, want)
		}
	}
}
