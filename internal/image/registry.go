package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"plane"
)

// remoteImage is one in its registry, whose layers are registryLayers.
type remoteImage struct {
	v1.Image
	layers []v1.Layer
}

func (i remoteImage) Layers() ([]v1.Layer, error) { return i.layers, nil }

// registryLayer is a layer in its registry.
type registryLayer struct {
	v1.Layer
	digest v1.Hash
	size   int64
	client *http.Client
	repo   name.Repository
	dir    string // of blobs on their way
}

func (l *registryLayer) path() string { return filepath.Join(l.dir, l.digest.Hex) }

// url is the blob's. Whether it is plain was found out when the line was opened.
func (l *registryLayer) url() string {
	return fmt.Sprintf("%s://%s/v2/%s/blobs/%s", l.repo.Scheme(), l.repo.RegistryStr(), l.repo.RepositoryStr(), l.digest)
}

// What is taken of an image at most.
const (
	mostOfConfig = 8 << 20 // bytes
	mostLayers   = 500     // that an overlay mount takes
)

// fetch finds an image in its registry; its layers come later. close lets go of
// the registry.
func (s *Store) fetch(ctx context.Context, r Request) (img v1.Image, close func(), err error) {
	ref, err := name.ParseReference(string(r.Ref))
	if err != nil {
		return nil, nil, fmt.Errorf("image %s: %w", r.Ref.Short(), err)
	}
	line := newLine()
	img, err = s.find(ctx, ref, r, line)
	if err == nil {
		return img, line.CloseIdleConnections, nil
	}
	line.CloseIdleConnections()
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	return nil, nil, explainFetch(r, err)
}

func (s *Store) find(ctx context.Context, ref name.Reference, r Request, line http.RoundTripper) (v1.Image, error) {
	repo := ref.Context()
	t, err := transport.NewWithContext(ctx, repo.Registry, credentials(r.Credentials), transport.NewRetry(encrypted{patient{line, s.stall}}), []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	found, err := remote.Get(ref, remote.WithContext(ctx), remote.WithTransport(t))
	if err != nil {
		return nil, err
	}
	var img v1.Image
	if found.MediaType.IsIndex() {
		var index v1.ImageIndex
		if index, err = found.ImageIndex(); err == nil {
			img, err = ofPlatform(index)
		}
	} else if found.MediaType.IsImage() {
		img, err = found.Image()
	} else {
		err = fmt.Errorf("what its registry has is of the kind %s, not an image that Plane runs; push it again with a present version of Docker or another builder", found.MediaType)
	}
	if err != nil {
		return nil, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if manifest.Config.Size > mostOfConfig || len(manifest.Layers) > mostLayers {
		return nil, fmt.Errorf("its configuration has %d bytes and it has %d layers; at most %d and %d are taken", manifest.Config.Size, len(manifest.Layers), mostOfConfig, mostLayers)
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != len(manifest.Layers) {
		return nil, errDamaged
	}
	client := &http.Client{Transport: t, CheckRedirect: redirected}
	for i, d := range manifest.Layers {
		layers[i] = &registryLayer{Layer: layers[i], digest: d.Digest, size: d.Size, client: client, repo: repo, dir: s.path("blobs")}
	}
	return remoteImage{img, layers}, nil
}

// ofPlatform chooses what this machine runs.
func ofPlatform(index v1.ImageIndex) (v1.Image, error) {
	all, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var others []string
	for _, d := range all.Manifests {
		switch {
		case !d.MediaType.IsImage():
		case d.Platform == nil || d.Platform.OS == "linux" && d.Platform.Architecture == runtime.GOARCH:
			return index.Image(d.Digest)
		case d.Platform.OS != "unknown":
			others = append(others, d.Platform.OS+"/"+d.Platform.Architecture)
		}
	}
	if len(others) == 0 {
		return nil, fmt.Errorf("it has nothing for linux/%s; build it with --platform linux/%s", runtime.GOARCH, runtime.GOARCH)
	}
	return nil, fmt.Errorf("it is for %s, this machine is linux/%s; build it with --platform linux/%s", strings.Join(others, ", "), runtime.GOARCH, runtime.GOARCH)
}

func credentials(c *plane.Credentials) authn.Authenticator {
	if c == nil {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken})
}

// suits reports an image that this machine can't run.
func suits(c *v1.ConfigFile) error {
	if c.OS != "" && c.OS != "linux" || c.Architecture != "" && c.Architecture != runtime.GOARCH {
		return fmt.Errorf("it is for %s/%s, this machine is linux/%s; build it with --platform linux/%s", c.OS, c.Architecture, runtime.GOARCH, runtime.GOARCH)
	}
	return nil
}

// explainFetch says what to do about a registry's answer.
func explainFetch(r Request, err error) error {
	short := r.Ref.Short()
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			if r.Credentials == nil {
				return fmt.Errorf("image %s can't be pulled without credentials, or doesn't exist; check its name, and give executable.credentials: %s", short, detail(answer))
			}
			return fmt.Errorf("the registry of image %s refuses the credentials; check executable.credentials: %s", short, detail(answer))
		case http.StatusNotFound:
			return fmt.Errorf("image %s: its registry has no such image; check name and tag", short)
		case http.StatusTooManyRequests:
			return fmt.Errorf("image %s: its registry allows no more pulls for now; wait, or give executable.credentials", short)
		}
		return fmt.Errorf("image %s: its registry answers %d: %s", short, answer.StatusCode, detail(answer))
	}
	// Addresses may carry tokens.
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var wrong *net.OpError
	var unknown *net.DNSError
	if errors.As(err, &wrong) || errors.As(err, &unknown) {
		return fmt.Errorf("image %s: its registry can't be reached (%w); check the name, or bring the image with plane image import", short, err)
	}
	return fmt.Errorf("image %s: %w", short, err)
}

// detail is what the registry says of an error, without the address that it was
// asked at, which may carry a token.
func detail(e *transport.Error) string {
	if len(e.Errors) == 0 {
		return http.StatusText(e.StatusCode)
	}
	return e.Errors[0].String()
}
