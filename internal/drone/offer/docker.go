package offer

import (
	"context"
	"slices"

	"plane"
	"plane/internal/run"
	"plane/internal/runtime/docker"
)

func (m *maker) openDocker(ctx context.Context) error {
	r, err := docker.New(docker.Options{
		Home: m.Home, Dial: m.Dial, Networks: m.DockerNets, EngineRuntime: m.DockerRuntime, Log: m.DockerLog, MountBase: m.MountBase,
		Way: m.way, AutoPruneImages: m.AutoPrune, PruneAge: m.PruneAge, Dev: m.Dev, Logger: m.Log,
	})
	if err != nil {
		return err
	}
	// An engine that was asked for by name may be started later.
	if err := r.Check(ctx); err != nil && !slices.Contains(m.Runtimes, plane.RuntimeDocker) {
		r.Close()
		return err
	}
	m.offer.Runtimes[plane.RuntimeDocker] = r
	m.offer.closers = append(m.offer.closers, r.Close)
	m.offer.Parts = append(m.offer.Parts, run.Part{Name: "docker runtime", Run: r.Run})
	return nil
}
