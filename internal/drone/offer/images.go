package offer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"

	"plane/internal/drone/home"
	"plane/internal/image"
	"plane/internal/runtime/docker"
)

// Images opens the store of a data directory's images, beside an agent that
// runs or without one. The images of this machine's Docker engine are found
// through it. done must be called.
func Images(h home.Home, quota int64, log *slog.Logger) (store *image.Store, done func(), err error) {
	opts := image.Options{Log: log, Shift: image.UserNamespace, Quota: quota}
	done = func() {}
	if source, err := docker.OpenSource(""); err == nil { // else there is no engine, as the docker runtime says
		opts.Engine, done = engine{source}, func() { _ = source.Close() }
	}
	if store, err = image.Open(h.Images(), opts); err != nil {
		done()
		return nil, nil, err
	}
	return store, done, nil
}

// engine is a Docker engine as the image store sees it.
type engine struct{ source *docker.Source }

func (e engine) Inspect(ctx context.Context, ref image.Ref) (string, error) {
	id, err := e.source.Inspect(ctx, string(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return "", image.ErrNotThere
	}
	return id, err
}

func (e engine) Save(ctx context.Context, ref image.Ref) (io.ReadCloser, error) {
	return e.source.Save(ctx, string(ref))
}
