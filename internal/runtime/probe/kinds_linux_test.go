package probe_test

import (
	"archive/tar"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/clustertest"
	"plane/internal/dockertest"
	"plane/internal/drone/home"
	"plane/internal/image"
	"plane/internal/image/imagetest"
	"plane/internal/runtime/docker"
	"plane/internal/runtime/egress"
	"plane/internal/runtime/oci"
	"plane/internal/runtime/process"
)

const program = "plane/internal/runtime/probe/inside"

// picture has the program, once more as a setuid one, and a device that it has
// no business with.
func picture(t *testing.T) v1.Image {
	t.Helper()
	b := imagetest.Program(t, program)
	return imagetest.Image(t, v1.Config{Entrypoint: []string{"/inside"}, WorkingDir: "/", Env: []string{"PATH=/"}}, imagetest.Layer(t,
		imagetest.File{Name: "inside", Body: b, Mode: 0o755},
		imagetest.File{Name: "setuid", Body: b, Mode: 0o4755},
		imagetest.File{Name: "device", Type: tar.TypeChar, Mode: 0o666, Major: 1, Minor: 11},
		imagetest.File{Name: "tmp/", Type: tar.TypeDir, Mode: 0o1777},
	))
}

func runsImage(args ...string) plane.Executable {
	return plane.Executable{Image: "probe:latest", PullPolicy: plane.PullNever, Command: append([]string{"/inside"}, args...)}
}

func newProcess(t *testing.T) *drone {
	d := newDrone(t)
	at := filepath.Join(d.home.Dir, "inside")
	if err := os.WriteFile(at, imagetest.Program(t, program), 0o755); err != nil {
		t.Fatal(err)
	}
	d.argv = func(args ...string) plane.Executable {
		return plane.Executable{Command: append([]string{at}, args...)}
	}
	d.r = process.New(d.dial, process.Options{Home: d.home})
	return d
}

func newOCI(t *testing.T, change ...func(*oci.Options)) *drone {
	t.Helper()
	d := newDrone(t)
	d.argv = runsImage
	images, err := image.Open(d.home.Images(), image.Options{Shift: image.UserNamespace})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := images.Import(t.Context(), imagetest.Archive(t, map[string]v1.Image{"probe:latest": picture(t)}), func(image.Progress) {}); err != nil {
		t.Fatal(err)
	}
	o := oci.Options{Home: d.home, Images: images, Dial: d.dial}
	for _, c := range change {
		c(&o)
	}
	if o.Runtime == "" {
		o.Runtime = "crun"
	}
	if _, err := exec.LookPath(o.Runtime); err != nil {
		clustertest.Missing(t, o.Runtime)
	}
	r := oci.New(o)
	d.r = r
	if d.prepared = o.Prepared.Count > 0; d.prepared {
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		t.Cleanup(func() { cancel(); running.Wait() }) // before the drone ends
	}
	return d
}

func newDocker(t *testing.T, e *dockertest.Engine, change ...func(*docker.Options)) *drone {
	t.Helper()
	d := newDrone(t)
	d.argv, d.engine, d.logs = runsImage, true, []string{filepath.Join(filepath.Dir(strings.TrimPrefix(e.Host, "unix://")), "data", "containers")}
	o := docker.Options{Home: d.home, Host: e.Host, Dial: d.dial}
	for _, c := range change {
		c(&o)
	}
	r, err := docker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	d.r = r
	return d
}

// way is a way out to all that is public.
func way(h home.Home) *egress.Way {
	public, _ := plane.ParseEgress("public")
	return egress.New(egress.Options{Hash: h.Hash(), Allowed: public})
}

// took reports whether a backend took a prepared sandbox.
func (d *drone) took(id plane.BackendID) bool {
	to, err := os.Readlink(filepath.Join(d.home.Bundles(), string(id)))
	return err == nil && strings.HasPrefix(to, "sb-")
}
