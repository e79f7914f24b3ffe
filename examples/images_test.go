package examples

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane/internal/clustertest"
	"plane/internal/dockertest"
	"plane/internal/image/imagetest"
)

// Each Dockerfile is built by a real `docker build`, and each image serves keys
// under `plane dev --image` with both runtimes, without a registry.
func TestTheDockerfilesBuildAndTheirImagesServe(t *testing.T) {
	clustertest.Program(t, "docker")
	engine := dockertest.Start(t, dockertest.Options{})
	t.Setenv("DOCKER_HOST", engine.Host)
	t.Setenv("DOCKER_BUILDKIT", "0") // what every engine has
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	bin := t.TempDir() // as `make build` leaves it
	for name, pkg := range map[string]string{"echo": "plane/examples/echo", "whiteboard": "plane/examples/whiteboard/cmd/whiteboard"} {
		if err := os.WriteFile(filepath.Join(bin, name), imagetest.Program(t, pkg), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		image, dir, context string
		base                func(*testing.T, *dockertest.Engine)
		path, says          string
	}{
		{"echo", "echo", bin, nil, "/env", "SESSION_BACKEND_KEY"},
		{"whiteboard", "whiteboard", bin, nil, "/", "<html"},
		{"python-site", "python", "python", pythonBase, "/", "Files from Python"},
		{"node-ws", "node-ws", "node-ws", nodeBase, "/", "A room"},
		{"jupyter", "jupyter", "jupyter", debianBase, "/tree", "Jupyter"},
	} {
		t.Run(x.image, func(t *testing.T) {
			if x.base != nil {
				x.base(t, engine)
			}
			build := exec.Command("docker", "build", "--network=none", "-t", x.image, "-f", filepath.Join(x.dir, "Dockerfile"), x.context)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("docker build: %v\n%s", err, out)
			}
			for _, runtime := range []string{"oci", "docker"} {
				t.Run(runtime, func(t *testing.T) {
					d := clustertest.StartDev(t, []string{"--image", x.image, "--runtime", runtime})
					for _, key := range []string{"ann", "bob"} {
						if status, body := d.Get(key, x.path); status != http.StatusOK || !strings.Contains(body, x.says) {
							t.Errorf("%s: %d %.300s", key, status, body)
						}
					}
					ann, _ := d.Backend("ann")
					bob, _ := d.Backend("bob")
					if ann.BackendID == "" || ann.BackendID == bob.BackendID {
						t.Errorf("not one container per key: %+v %+v", ann, bob)
					}
				})
			}
		})
	}
}

// pythonBase makes python:3-slim of what this machine has.
func pythonBase(t *testing.T, e *dockertest.Engine) {
	t.Helper()
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		clustertest.Missing(t, python)
	}
	real, err := filepath.EvalSymlinks(python)
	if err != nil {
		t.Fatal(err)
	}
	library := "/usr/lib/" + filepath.Base(real)
	b := base{t: t}
	b.program(real)
	b.program("/bin/sh")
	b.link(python, real)
	b.tree(library, library)
	e.Load(t, b.image("PATH=/usr/bin:/bin"), "python:3-slim")
}

// npmCI does in an image of tests, which has no network, what `npm ci` would.
const npmCI = `#!/usr/bin/node
require("fs").cpSync("/packages", "node_modules", {recursive: true})
`

// nodeBase makes node:22-slim of what this machine has.
func nodeBase(t *testing.T, e *dockertest.Engine) {
	t.Helper()
	const packages = "node-ws/node_modules"
	if _, err := os.Stat(packages + "/ws"); err != nil {
		clustertest.Missing(t, packages)
	}
	b := base{t: t}
	b.program("/bin/sh")
	b.programAs("/usr/bin/node", clustertest.Program(t, "node"))
	b.add(imagetest.File{Name: "usr/bin/npm", Body: []byte(npmCI), Mode: 0o755})
	b.tree(packages, "/packages")
	e.Load(t, b.image("PATH=/usr/bin:/bin"), "node:22-slim")
}

// debianBase would be debian:bookworm-slim, into which half a gigabyte of
// packages is installed from the network.
func debianBase(t *testing.T, _ *dockertest.Engine) {
	t.Helper()
	const why = "the Dockerfile of jupyter isn't tested: it installs packages from the network, which builds of tests haven't"
	_, _ = fmt.Fprintln(os.Stderr, why)
	t.Skip(why)
}

// base gathers the files of an image from this machine.
type base struct {
	t     *testing.T
	files []imagetest.File
	has   map[string]bool
}

func (b *base) add(f imagetest.File) {
	if b.has == nil {
		b.has = map[string]bool{}
	}
	if !b.has[f.Name] {
		b.has[f.Name] = true
		b.files = append(b.files, f)
	}
}

// file adds a file of this machine.
func (b *base) file(name, path string) {
	b.t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		b.t.Fatal(err)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	b.add(imagetest.File{Name: strings.TrimPrefix(name, "/"), Body: body, Mode: int64(st.Mode().Perm())})
}

func (b *base) program(path string) {
	b.t.Helper()
	b.programAs(path, path)
}

// programAs adds a program with the libraries that it is linked with.
func (b *base) programAs(name, path string) {
	b.t.Helper()
	b.file(name, path)
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		b.t.Fatalf("ldd %s: %v", path, err)
	}
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") && !strings.HasSuffix(word, ":") {
			b.file(word, word)
		}
	}
}

func (b *base) link(name, to string) {
	b.add(imagetest.File{Name: strings.TrimPrefix(name, "/"), Type: '2', Link: to})
}

// tree adds the files below a directory, but what no program needs.
func (b *base) tree(dir, as string) {
	b.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains([]string{"test", "idlelib", "lib2to3", "__pycache__", ".bin"}, d.Name()) || strings.HasPrefix(d.Name(), "config-")):
			return filepath.SkipDir
		case d.Type().IsRegular() && filepath.Ext(path) != ".so":
			b.file(as+strings.TrimPrefix(path, dir), path)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *base) image(env ...string) v1.Image {
	b.t.Helper()
	b.add(imagetest.File{Name: "etc/passwd", Body: []byte("root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\nnode:x:1000:1000:node:/:/bin/sh\n")})
	b.add(imagetest.File{Name: "etc/group", Body: []byte("root:x:0:\nnogroup:x:65534:\nnode:x:1000:\n")})
	b.add(imagetest.File{Name: "tmp", Type: '5', Mode: 0o1777})
	return imagetest.Image(b.t, v1.Config{Env: env}, imagetest.Layer(b.t, b.files...))
}
