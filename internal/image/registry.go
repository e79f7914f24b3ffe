package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"plane"
)

// fetch finds an image in its registry; its layers are read later.
func fetch(ctx context.Context, r Request) (v1.Image, error) {
	ref, err := name.ParseReference(string(r.Ref))
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", r.Ref.Short(), err)
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuth(credentials(r.Credentials)),
		remote.WithPlatform(platform()))
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, explainFetch(r.Ref, err)
	}
	return img, nil
}

// platform is what this machine runs.
func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

func credentials(c *plane.Credentials) authn.Authenticator {
	if c == nil {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken})
}

// suits reports an image that this machine can't run.
func suits(c *v1.ConfigFile) error {
	if c.OS != "" && c.OS != "linux" || c.Architecture != "" && c.Architecture != runtime.GOARCH {
		return fmt.Errorf("the image is for %s/%s, this machine is linux/%s; build it with --platform linux/%s", c.OS, c.Architecture, runtime.GOARCH, runtime.GOARCH)
	}
	return nil
}

// explainFetch says what to do about a registry's answer.
func explainFetch(ref Ref, err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("image %s: its registry refuses the credentials, or wants some; set credentials, or check the name: %s", ref.Short(), detail(answer))
		case http.StatusNotFound:
			return fmt.Errorf("image %s: its registry has no such image; check name and tag", ref.Short())
		case http.StatusTooManyRequests:
			return fmt.Errorf("image %s: its registry allows no more pulls for now; wait, or set credentials", ref.Short())
		}
		return fmt.Errorf("image %s: its registry answers %d: %s", ref.Short(), answer.StatusCode, detail(answer))
	}
	var wrong *net.OpError
	var unknown *net.DNSError
	if errors.As(err, &wrong) || errors.As(err, &unknown) {
		return fmt.Errorf("image %s: its registry can't be reached (%w); check the name, or bring the image with plane image import", ref.Short(), err)
	}
	return fmt.Errorf("image %s: %w", ref.Short(), err)
}

// detail is what the registry says of an error, without the address that it was
// asked at, which may carry a token.
func detail(e *transport.Error) string {
	if len(e.Errors) == 0 {
		return http.StatusText(e.StatusCode)
	}
	return e.Errors[0].String()
}
