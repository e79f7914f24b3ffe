package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// found is an image of an archive with the names that it has there.
type found struct {
	image v1.Image
	names []string
}

// Import takes the images of an archive as `docker save` writes it, or of an OCI
// layout (a directory, or an archive of one), under the names that it gives
// them. It returns those.
func (s *Store) Import(ctx context.Context, path string, tell func(Progress)) ([]Ref, error) {
	w, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer w.end()
	all, err := w.open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", path, err)
	}
	for _, f := range all { // before any is taken
		if len(f.names) == 0 {
			return nil, fmt.Errorf("import %s: it has an image without a name; give it one, as in docker save NAME:TAG", path)
		}
	}
	var refs []Ref
	for _, f := range all {
		img, err := w.take(ctx, f.image, "importing", tell)
		if err != nil {
			return refs, fmt.Errorf("import %s: %w", path, err)
		}
		for _, n := range f.names {
			ref, err := ParseRef(n)
			if err != nil {
				return refs, fmt.Errorf("import %s: %w", path, err)
			}
			if err := s.nameNew(ctx, ref, img); err != nil {
				return refs, err
			}
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

func (w *work) open(ctx context.Context, path string) ([]found, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return ofLayout(path)
	}
	if path, err = w.plain(ctx, path); err != nil {
		return nil, explainUnpack(err)
	}
	if _, err := tarball.LoadManifest(opener(path)); err == nil {
		return ofArchive(path)
	}
	return w.ofLayoutArchive(ctx, path)
}

// plain gives the path of an archive that isn't compressed: such ones are read
// in any order.
func (w *work) plain(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	in, err := decompress(f)
	if err != nil {
		return "", err
	}
	defer in.Close()
	if in.plain() {
		return path, nil
	}
	return w.spool(ctx, in)
}

// spool keeps a stream in a file, which archives are read from in any order.
func (w *work) spool(ctx context.Context, r io.Reader) (path string, err error) {
	f, err := os.CreateTemp(w.dir, "archive-*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, &guarded{r: r, ctx: ctx})
	return f.Name(), errors.Join(err, f.Close())
}

func opener(path string) tarball.Opener {
	return func() (io.ReadCloser, error) { return os.Open(path) }
}

func ofArchive(path string) ([]found, error) {
	manifest, err := tarball.LoadManifest(opener(path))
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var all []found
	for i, m := range manifest {
		var tag *name.Tag
		if len(m.RepoTags) > 0 {
			t, err := name.NewTag(m.RepoTags[0])
			if err != nil {
				return nil, err
			}
			tag = &t
		} else if len(manifest) > 1 {
			return nil, fmt.Errorf("image %d of %d has no name", i+1, len(manifest))
		}
		img, err := tarball.Image(opener(path), tag)
		if err != nil {
			return nil, err
		}
		all = append(all, found{archived{img, st.Size()}, m.RepoTags})
	}
	return all, nil
}

// The annotations by which layouts name their images.
var nameAnnotations = []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"}

func ofLayout(dir string) ([]found, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []found
	for _, d := range manifest.Manifests {
		f := found{}
		for _, a := range nameAnnotations {
			// Some tools write a tag alone, which names nothing.
			if n := d.Annotations[a]; strings.ContainsAny(n, "/:") && len(f.names) == 0 {
				f.names = []string{n}
			}
		}
		switch {
		case d.MediaType.IsImage():
			f.image, err = index.Image(d.Digest)
		case d.MediaType.IsIndex():
			f.image, err = ofIndex(index, d)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// ofIndex chooses the image of an index that this machine can run.
func ofIndex(index v1.ImageIndex, d v1.Descriptor) (v1.Image, error) {
	inner, err := index.ImageIndex(d.Digest)
	if err != nil {
		return nil, err
	}
	return ofPlatform(inner)
}

// ofLayoutArchive unpacks an archive of a layout, files only.
func (w *work) ofLayoutArchive(ctx context.Context, path string) ([]found, error) {
	dir, err := os.MkdirTemp(w.dir, "layout-*")
	if err != nil {
		return nil, err
	}
	if err := extract(ctx, path, dir); noSpace(err) {
		return nil, explainUnpack(err)
	} else if err != nil {
		return nil, notArchive(err)
	}
	all, err := ofLayout(dir)
	if err != nil {
		return nil, notArchive(err)
	}
	return all, nil
}

func notArchive(err error) error {
	return fmt.Errorf("it is neither an archive of docker save nor an OCI layout: %w", err)
}

func extract(ctx context.Context, path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := tar.NewReader(&guarded{r: f, ctx: ctx})
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(h.Name)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}
