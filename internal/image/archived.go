package image

import (
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// archived is an image as `docker save` writes it. Its layers lie there
// uncompressed, and it has no manifest of a registry: one could be made only by
// compressing all of it, which takes longer than the rest of an import. So its
// digest is that of its configuration, which is what engines call its id.
type archived struct {
	v1.Image
	size int64 // bytes of the archive
}

func (a archived) Digest() (v1.Hash, error) { return a.ConfigName() }

func (a archived) Layers() ([]v1.Layer, error) {
	layers, err := a.Image.Layers()
	for i, l := range layers {
		layers[i] = archivedLayer{l}
	}
	return layers, err
}

type archivedLayer struct{ v1.Layer }

var errNotCompressed = errors.New("the layer isn't compressed")

func (archivedLayer) Size() (int64, error)                { return 0, errNotCompressed }
func (archivedLayer) Digest() (v1.Hash, error)            { return v1.Hash{}, errNotCompressed }
func (archivedLayer) Compressed() (io.ReadCloser, error)  { return nil, errNotCompressed }
func (archivedLayer) MediaType() (types.MediaType, error) { return types.DockerUncompressedLayer, nil }
