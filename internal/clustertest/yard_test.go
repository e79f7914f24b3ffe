package clustertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plane/internal/dockertest"
	"plane/internal/image/imagetest"
)

// yard is where a test has its images: a registry and, for docker, an engine.
type yard struct {
	t        *testing.T
	runtime  string
	registry *imagetest.Registry
	engine   *dockertest.Engine // nil for oci
}

// eachRuntime runs a test with the runtimes of images, beside each other; flags
// are for the engine.
func eachRuntime(t *testing.T, test func(y *yard), flags ...string) {
	for _, runtime := range []string{"oci", "docker"} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			test(newYard(t, runtime, flags...))
		})
	}
}

// newYard makes one; flags are for the engine.
func newYard(t *testing.T, runtime string, flags ...string) *yard {
	t.Helper()
	y := &yard{t: t, runtime: runtime, registry: imagetest.NewRegistry(t, "", "")}
	switch {
	case runtime == "docker":
		y.engine = dockertest.Start(t, dockertest.Options{Flags: flags})
	case os.Geteuid() != 0:
		Missing(t, "root")
	default:
		if _, err := exec.LookPath("crun"); err != nil {
			Missing(t, "crun")
		}
	}
	return y
}

// env is where the local engine is: for oci there is none.
func (y *yard) env() []string {
	if y.engine == nil {
		return []string{"DOCKER_HOST=unix:///nowhere/docker.sock"}
	}
	return []string{"DOCKER_HOST=" + y.engine.Host}
}

// server is the name of an image of the server of tests.
func (y *yard) server(args ...string) string {
	y.t.Helper()
	return y.registry.Push(y.t, "server:"+fmt.Sprintf("v%d", len(args)), imagetest.ServerImage(y.t, args...))
}

// dev runs `plane dev` with the runtime, and an image or, in files, a plane.yaml.
func (y *yard) dev(files map[string]string, args ...string) *Dev {
	y.t.Helper()
	d := &Dev{DataDir: filepath.Join(y.t.TempDir(), "data")}
	base := []string{"dev", "--json", "--data-dir", d.DataDir, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0"}
	if y.runtime != "" {
		base = append(base, "--runtime", y.runtime)
	}
	d.Part = Start(y.t, project(y.t, files), y.env(), append(base, args...)...)
	y.t.Cleanup(func() {
		_ = d.Stop(30 * time.Second)
		y.leavesNothing(d.DataDir)
	})
	d.AwaitListening()
	return d
}

// served reads a path of a key's server, which must answer.
func (d *Dev) served(key, path string) string {
	d.t.Helper()
	code, body := d.get(key, path)
	if code != http.StatusOK {
		d.t.Fatalf("%s of %s: %d %s", path, key, code, body)
	}
	return strings.TrimSpace(body)
}

// backendOf is the one live backend of a key.
func (d *Dev) backendOf(key string) Backend {
	d.t.Helper()
	for _, b := range d.Backends() {
		if b.Key.Name == key {
			return b
		}
	}
	d.t.Fatalf("%s has no backend", key)
	return Backend{}
}

// says is what a verb of the command line prints.
func (d *Dev) says(args ...string) string {
	d.t.Helper()
	code, out, errOut := cli(d.t.(*testing.T), d.Dir, append(args, "--controller", d.API)...)
	if code != 0 {
		d.t.Fatalf("plane %v: exit %d\n%s%s", args, code, out, errOut)
	}
	return out
}

// why waits until `plane why` says all of words about a key.
func (d *Dev) why(key string, words ...string) string {
	d.t.Helper()
	said := ""
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		said = d.says("why", key)
		missing := ""
		for _, w := range words {
			if !strings.Contains(said, w) {
				missing = w
			}
		}
		if missing == "" {
			return said
		}
		if time.Now().After(end) {
			d.t.Fatalf("plane why %s never said %q:\n%s", key, missing, said)
		}
	}
}

// app is one app of a plane.yaml, as JSON, which YAML can be.
func app(fields map[string]any) string {
	b, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// planeYAML has those apps, of which the first is the default one.
func planeYAML(names []string, apps ...map[string]any) map[string]string {
	text := "default: " + names[0] + "\napps:\n"
	for i, a := range apps {
		text += "  " + names[i] + ": " + app(a) + "\n"
	}
	return map[string]string{"plane.yaml": text}
}
