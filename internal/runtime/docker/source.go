package docker

import (
	"context"
	"io"
	"io/fs"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Source gives images of the engine to the store of another runtime.
type Source struct {
	engine *client.Client
}

// OpenSource makes a Source. host is that of the engine, "" = DOCKER_HOST, else
// the usual one. It asks nothing.
func OpenSource(host string) (*Source, error) {
	c, err := openEngine(host)
	if err != nil {
		return nil, err
	}
	return &Source{engine: c}, nil
}

// Inspect tells the id of the image that a name means to the engine now, as
// "sha256:…". An error for which errors.Is finds fs.ErrNotExist: it has none.
func (s *Source) Inspect(ctx context.Context, ref string) (id string, err error) {
	found, err := s.engine.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return "", wrong("the Docker engine has no image %s: %w", ref, fs.ErrNotExist)
	}
	return found.ID, err
}

// Save exports the image as `docker save` does.
func (s *Source) Save(ctx context.Context, ref string) (io.ReadCloser, error) {
	return s.engine.ImageSave(ctx, []string{ref})
}

// Close lets go of the engine.
func (s *Source) Close() error { return s.engine.Close() }
