package oci

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"plane"
)

// picture is what a start needs of an image.
type picture struct {
	name    string
	digest  string
	layers  []string // directories, the lowest first
	config  config
	release func() // gives up the hold that keeps its layers there
}

// config is what an image says about its programs.
type config struct {
	Env                    []string
	Entrypoint, Cmd        []string
	User, WorkingDir       string
	StopSignal             string
	Platform, Architecture string
}

// runnable reports an image that this machine can't run.
func (p *picture) runnable() error {
	if p.config.Platform != "" && p.config.Platform != "linux" {
		return fmt.Errorf("image %s is for %s; this drone runs linux images", p.name, p.config.Platform)
	}
	if a := p.config.Architecture; a != "" && a != runtime.GOARCH && !(a == "386" && runtime.GOARCH == "amd64") {
		return fmt.Errorf("image %s is for %s, and this machine is %s; build it for that, e.g. docker build --platform linux/%s", p.name, a, runtime.GOARCH, runtime.GOARCH)
	}
	return nil
}

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
