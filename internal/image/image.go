package image

import (
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Image is one that is here, unpacked.
type Image struct {
	Digest string    // "sha256:…" of its manifest
	Layers []string  // directories of its unpacked layers, lowest first
	Config v1.Config // what it says of its program
	Size   int64     // bytes, unpacked
}

// record is an image as the store keeps it.
type record struct {
	Digest string    `json:"digest"`
	ID     string    `json:"id,omitempty"` // digest of its configuration, by which engines know it
	Layers []string  `json:"layers"`       // keys of its layers, the lowest first; see layerKeys
	Config v1.Config `json:"config"`
	Size   int64     `json:"size"`
}

// naming is what a name means, and where that came from.
type naming struct {
	Digest string    `json:"digest"`
	Engine string    `json:"engine,omitempty"` // what the local engine had under the name when that was last looked at
	From   string    `json:"from,omitempty"`   // fromTheEngine, or "" = a registry or an archive
	Pulled time.Time `json:"pulled"`
	Used   time.Time `json:"used"`
}

func (s *Store) image(r record) *Image {
	i := &Image{Digest: r.Digest, Config: r.Config, Size: r.Size}
	for n, l := range r.Layers {
		// Overlay mounts refuse a directory that they are given twice. The upper
		// of two equal layers says all that the lower one says.
		if !slices.Contains(r.Layers[n+1:], l) {
			i.Layers = append(i.Layers, s.layerDir(l))
		}
	}
	return i
}

func (s *Store) layerDir(key string) string { return s.path("layers", key, "fs") }

// known gives the image of a digest if it is here with all its layers, which it
// may not be after a power failure. ErrNotThere.
func (s *Store) known(digest string) (record, error) {
	var r record
	if err := s.read(filepath.Join("images", fileOfDigest(digest)), &r); err != nil {
		return r, err
	}
	for _, key := range r.Layers {
		if _, ok := s.has(key); !ok {
			return r, ErrNotThere
		}
	}
	return r, nil
}

func fileOfDigest(digest string) string {
	_, hex, _ := cutDigest(digest)
	return hex
}
