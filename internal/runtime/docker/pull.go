package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"plane"
	"plane/internal/runtime"
)

// Prepare pulls the image as its pull policy asks. See runtime.Runtime.
func (r *Runtime) Prepare(ctx context.Context, u runtime.Unit, tell func(runtime.Progress)) (runtime.Prepared, error) {
	x := u.Executable
	if x.Image == "" {
		return runtime.Prepared{}, errors.New("the docker runtime runs images only; this backend has a command and no image")
	}
	found, err := r.look(ctx, x.Image, tell)
	if _, e := r.reached(ctx); e != nil {
		return runtime.Prepared{}, e
	}
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsInvalidArgument(err) {
		return runtime.Prepared{}, r.silent(err)
	}
	if missing := err != nil; x.PullPolicy == plane.PullAlways || missing && x.PullPolicy != plane.PullNever {
		if err := r.pull(ctx, x.Image, x.Credentials, tell); err != nil {
			return runtime.Prepared{}, err
		}
		before := found.ID
		if found, err = r.engine.ImageInspect(ctx, x.Image); err != nil {
			return runtime.Prepared{}, wrong("image %s was pulled, but the Docker engine says: %s", x.Image, says(err))
		}
		r.images.pulled(x.Image, before, found.ID)
	} else if missing {
		return runtime.Prepared{}, nil // not asked to look; Start tells
	}
	r.images.used(x.Image)
	if err := runsHere(x.Image, found.Os, found.Architecture); err != nil {
		return runtime.Prepared{}, err
	}
	return runtime.Prepared{Digest: digest(x.Image, found)}, nil
}

// outage is how long a start waits for an engine that doesn't answer: one that is
// being restarted is no reason for backends to fail.
const outage = 15 * time.Second

// look finds an image in the engine.
func (r *Runtime) look(ctx context.Context, image string, tell func(runtime.Progress)) (client.ImageInspectResult, error) {
	for end := time.Now().Add(outage); ; {
		try, cancel := context.WithTimeout(ctx, brief)
		found, err := r.engine.ImageInspect(try, image)
		cancel()
		if err == nil || answered(err) || errors.Is(err, os.ErrPermission) || time.Now().After(end) {
			return found, err
		}
		tell(runtime.Progress{Text: "waiting for the Docker engine, which doesn't answer"})
		select {
		case <-ctx.Done():
			return found, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// digest is that of the manifest in the registry, else the image's own.
func digest(image string, found client.ImageInspectResult) string {
	name, err := reference.ParseNormalizedNamed(image)
	for _, d := range found.RepoDigests {
		repo, sum, _ := strings.Cut(d, "@")
		if n, e := reference.ParseNormalizedNamed(repo); err == nil && e == nil && n.Name() == name.Name() {
			return sum
		}
	}
	return found.ID
}

// runsHere reports an image that is for another machine, unless the kernel
// knows an emulator.
func runsHere(image, system, machine string) error {
	const emulators = "/proc/sys/fs/binfmt_misc/qemu-"
	emulated := map[string]string{"arm64": "aarch64", "amd64": "x86_64", "386": "i386"}
	name := machine
	if e, ok := emulated[machine]; ok {
		name = e
	}
	switch {
	case system != "" && system != "linux":
		return wrong("image %s is for %s; only Linux images run here", image, system)
	case machine == "" || machine == goruntime.GOARCH || goruntime.GOARCH == "amd64" && machine == "386":
		return nil
	}
	if _, err := os.Stat(emulators + name); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wrong("image %s is for %s and this machine is %s; build it for linux/%s", image, machine, goruntime.GOARCH, goruntime.GOARCH)
}

// pullKey says which pulls are the same.
type pullKey struct {
	image       string
	credentials plane.Credentials
}

// pull pulls an image, once for all who ask for it.
func (r *Runtime) pull(ctx context.Context, image string, c *plane.Credentials, tell func(runtime.Progress)) error {
	key := pullKey{image: image}
	if c != nil {
		key.credentials = *c
	}
	_, err := r.pulls.Do(ctx, key, tell, func(ctx context.Context, tell func(runtime.Progress)) (struct{}, error) {
		life, cancel := r.living(ctx)
		defer cancel()
		return struct{}{}, r.pullOnce(life, image, c, tell)
	})
	return err
}

func (r *Runtime) pullOnce(ctx context.Context, image string, c *plane.Credentials, tell func(runtime.Progress)) error {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return wrong("image %q is no name of an image: %w", image, err)
	}
	auth, err := authorisation(named, c)
	if err != nil {
		return err
	}
	tell(runtime.Progress{Text: "pulling"})
	stream, err := r.engine.ImagePull(ctx, image, client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return r.refused(image, c, err)
	}
	defer stream.Close()
	var seen layers
	d := json.NewDecoder(stream)
	for {
		var m jsonstream.Message
		err := d.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return r.refused(image, c, err)
		case m.Error != nil:
			return r.refused(image, c, m.Error)
		}
		if p, news := seen.add(m); news {
			tell(p)
		}
	}
}

func authorisation(named reference.Named, c *plane.Credentials) (string, error) {
	if c == nil {
		return "", nil
	}
	server := reference.Domain(named)
	if server == "docker.io" {
		server = "https://index.docker.io/v1/"
	}
	return authconfig.Encode(registry.AuthConfig{
		Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, ServerAddress: server,
	})
}

// refused says why a pull failed.
func (r *Runtime) refused(image string, c *plane.Credentials, err error) error {
	text := strings.ToLower(err.Error())
	about := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case about("unauthorized", "authentication required", "access denied", "access to the resource is denied", "no basic auth"):
		if c == nil {
			return wrong("image %s can't be pulled without credentials, or doesn't exist; check its name, and give executable.credentials: %s", image, says(err))
		}
		return wrong("the registry of image %s refuses the credentials; check executable.credentials: %s", image, says(err))
	case about("manifest unknown", "not found", "name unknown", "repository does not exist"):
		return wrong("image %s doesn't exist in its registry; check name and tag: %s", image, says(err))
	case about("connection refused", "no such host", "i/o timeout", "network is unreachable", "no route to host"):
		return wrong("image %s: its registry can't be reached; check the name, or load the image into the engine with docker load: %s", image, says(err))
	case about("no matching manifest"):
		return wrong("image %s has nothing for linux/%s; build it for that: %s", image, goruntime.GOARCH, says(err))
	}
	if errdefs.IsUnavailable(err) || !answered(err) && !errors.As(err, new(*jsonstream.Error)) {
		return r.silent(err)
	}
	return wrong("image %s can't be pulled: %s", image, says(err))
}
