package offer

import (
	"context"
	"log/slog"
	"time"

	"plane"
	"plane/internal/image"
	"plane/internal/run"
	"plane/internal/runtime/oci"
	"plane/internal/wait"
)

func (m *maker) openOCI(ctx context.Context) error {
	images, done, err := Images(m.Home, m.Quota, m.Log)
	if err != nil {
		return err
	}
	r := oci.New(oci.Options{
		Home: m.Home, Images: images, Dial: m.Dial, Runtime: m.OCIRuntime, Way: m.way, MountBase: m.MountBase,
		Prepared: oci.Budget{Count: m.Prepared}, Log: m.Log,
	})
	if err := r.Check(ctx); err != nil {
		r.Close()
		done()
		return err
	}
	m.offer.Runtimes[plane.RuntimeOCI] = r
	m.offer.closers = append(m.offer.closers, r.Close, done)
	m.offer.Parts = append(m.offer.Parts,
		run.Part{Name: "oci runtime", Run: r.Run},
		run.Part{Name: "images", Run: func(ctx context.Context) error { return collect(ctx, images, m.Log) }})
	return nil
}

// collectEvery is how often images beyond the quota are looked for.
const collectEvery = time.Minute

func collect(ctx context.Context, images *image.Store, log *slog.Logger) error {
	images.Verify(ctx)
	for wait.For(ctx, collectEvery) {
		if err := images.GC(ctx, 0); err != nil {
			log.Warn("unused images could not be removed", "error", err)
		}
	}
	return nil
}
