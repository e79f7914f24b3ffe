package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"plane"
	"plane/internal/image"
	"plane/internal/runtime"
)

// picture is what a start needs of an image.
type picture struct {
	name   string
	digest string
	layers []string // directories, the lowest first
	config config
}

// config is what an image says about its programs.
type config struct {
	Env              []string
	Entrypoint, Cmd  []string
	User, WorkingDir string
	StopSignal       string
}

// source is where images come from.
type source interface {
	// pull gives the image of an executable, as its policy says. Errors are
	// sentences for people.
	pull(ctx context.Context, x plane.Executable, tell func(runtime.Progress)) (*picture, error)
	// hold keeps an image there for a backend until release, whatever becomes of
	// this process. Both may be called twice.
	hold(ctx context.Context, user, digest string) error
	release(user string) error
	// holders are the backends that hold one.
	holders() []string
}

// store is a store of images as a source.
type store struct{ *image.Store }

func (s store) pull(ctx context.Context, x plane.Executable, tell func(runtime.Progress)) (*picture, error) {
	ref, err := image.ParseRef(x.Image)
	if err != nil {
		return nil, err
	}
	i, err := s.Pull(ctx, image.Request{Ref: ref, Policy: x.PullPolicy, Credentials: x.Credentials}, func(p image.Progress) {
		tell(runtime.Progress{Text: p.Text, Done: p.Done, Total: p.Total})
	})
	if err != nil {
		return nil, err
	}
	return &picture{name: ref.Short(), digest: i.Digest, layers: i.Layers, config: config{
		Env: i.Config.Env, Entrypoint: i.Config.Entrypoint, Cmd: i.Config.Cmd,
		User: i.Config.User, WorkingDir: i.Config.WorkingDir, StopSignal: i.Config.StopSignal,
	}}, nil
}

func (s store) hold(ctx context.Context, user, digest string) error { return s.Hold(ctx, user, digest) }

func (s store) release(user string) error { return s.Release(user) }

func (s store) holders() []string { return slices.Sorted(maps.Keys(s.Holds())) }

// userWord is the word for whom x runs as.
func userWord(x plane.Executable, image *picture) string { return cmp.Or(x.User, image.config.User) }

// argv is the command of a backend: the executable's takes the place of the
// image's entrypoint and command.
func (p *picture) argv(x plane.Executable) ([]string, error) {
	if len(x.Command) > 0 {
		return x.Command, nil
	}
	argv := append(p.config.Entrypoint[:len(p.config.Entrypoint):len(p.config.Entrypoint)], p.config.Cmd...)
	if len(argv) == 0 {
		return nil, fmt.Errorf("image %s names no command; give one in the executable", p.name)
	}
	return argv, nil
}

// dir is the working directory.
func (p *picture) dir(x plane.Executable) string {
	for _, d := range []string{x.Dir, p.config.WorkingDir} {
		if strings.HasPrefix(d, "/") {
			return d
		}
		if d != "" {
			return "/" + d
		}
	}
	return "/"
}

// defaultPath is that of an image that says nothing, as elsewhere.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is the image's, then the unit's, the last of a name alone.
func (p *picture) environment(unit []string, who user, hostname string) []string {
	all := append([]string{"PATH=" + defaultPath, "HOSTNAME=" + hostname, "HOME=" + who.home}, p.config.Env...)
	all = append(all, unit...)
	at := make(map[string]int, len(all))
	out := make([]string, 0, len(all))
	for _, e := range all {
		name, _, _ := strings.Cut(e, "=")
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

// value is that of a name in an environment.
func value(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

var errNoImage = errors.New("the oci runtime runs images only; this backend has none")
