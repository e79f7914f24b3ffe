// Package imagetest makes images, archives and registries for tests, without
// anything from outside.
package imagetest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TB is what this package needs of a testing.TB, so that benchmarks, which are
// programs, can have images too.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// Echo is the program of plane/examples/echo, which listens, misbehaves and ends
// as its flags say.
const Echo = "plane/examples/echo"

var programs sync.Map // package → func() ([]byte, error)

// Server is the program of plane/internal/image/imagetest/server: HTTP and
// WebSocket on $PORT, and modes by its arguments.
const Server = "plane/internal/image/imagetest/server"

// Program is a package of ours, built static for this machine, once per test
// binary.
func Program(t TB, pkg string) []byte {
	t.Helper()
	build, _ := programs.LoadOrStore(pkg, sync.OnceValues(func() ([]byte, error) {
		dir, err := os.MkdirTemp("", "plane-imagetest-*")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		out := filepath.Join(dir, "program")
		c := exec.Command("go", "build", "-ldflags=-s -w", "-o", out, pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
		if said, err := c.CombinedOutput(); err != nil {
			os.Stderr.Write(said)
			return nil, err
		}
		return os.ReadFile(out)
	}))
	b, err := build.(func() ([]byte, error))()
	if err != nil {
		t.Fatalf("build %s: %v", pkg, err)
	}
	return b
}

// File is one entry of a layer.
type File struct {
	Name     string
	Body     []byte
	Mode     int64 // 0 = 0644, of a directory 0755
	UID, GID int
	Type     byte   // 0 = a file
	Link     string // of links
	Major    int64  // of devices
	Minor    int64
	// Attributes are extended ones, by name.
	Attributes map[string]string
}

// Layer is an archive of files.
func Layer(t TB, files ...File) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Size: int64(len(f.Body)), Mode: f.Mode, Uid: f.UID, Gid: f.GID, Typeflag: f.Type, Linkname: f.Link, Devmajor: f.Major, Devminor: f.Minor}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if f.Type == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		for name, value := range f.Attributes {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+name] = value
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.Body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Image has those layers, lowest first.
func Image(t TB, config v1.Config, layers ...[]byte) v1.Image {
	t.Helper()
	img := empty.Image
	for _, l := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(l)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// OfArchitecture is img as one for another machine.
func OfArchitecture(t TB, img v1.Image, arch string) v1.Image {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.Architecture = arch
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

// EchoImage runs Echo with args, on all addresses of its own network.
func EchoImage(t TB, args ...string) v1.Image {
	t.Helper()
	return Image(t, v1.Config{Entrypoint: append([]string{"/echo"}, args...), Env: []string{"PATH=/bin", "HOST=0.0.0.0", "OF=image"}, WorkingDir: "/"},
		Layer(t,
			File{Name: "etc/", Type: tar.TypeDir},
			File{Name: "etc/passwd", Body: []byte("root:x:0:0::/:/bin/none\nguest:x:1000:1000::/:/bin/none\n")},
			File{Name: "etc/group", Body: []byte("root:x:0:\nguest:x:1000:\nextra:x:2000:guest\n")},
			File{Name: "tmp/", Type: tar.TypeDir, Mode: 0o1777}),
		Layer(t, File{Name: "echo", Body: Program(t, Echo), Mode: 0o755}))
}

// Archive writes images as `docker save` does, under their names.
func Archive(t TB, images map[string]v1.Image) (path string) {
	t.Helper()
	byRef := map[name.Reference]v1.Image{}
	for n, img := range images {
		tag, err := name.NewTag(n)
		if err != nil {
			t.Fatal(err)
		}
		byRef[tag] = img
	}
	path = filepath.Join(t.TempDir(), "images.tar")
	if err := tarball.MultiRefWriteToFile(path, byRef); err != nil {
		t.Fatal(err)
	}
	return path
}

// ServerImage runs Server with args, on $PORT or 8080.
func ServerImage(t TB, args ...string) v1.Image {
	t.Helper()
	return Image(t, v1.Config{
		Entrypoint: []string{"/server"}, Cmd: args, Env: []string{"OF=image"}, WorkingDir: "/",
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
	}, Layer(t, File{Name: "tmp/", Type: tar.TypeDir, Mode: 0o1777}),
		Layer(t, File{Name: "server", Body: Program(t, Server), Mode: 0o755}))
}

// Index is an image for several machines.
func Index(t TB, images ...v1.Image) v1.ImageIndex {
	t.Helper()
	var all []mutate.IndexAddendum
	for _, img := range images {
		file, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: file.Platform()}})
	}
	return mutate.AppendManifests(empty.Index, all...)
}

// Layout writes images as an OCI layout, under their names.
func Layout(t TB, images map[string]v1.Image) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "layout")
	path, err := layout.Write(dir, empty.Index)
	for n, img := range images {
		if err == nil {
			err = path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": n}))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Tar writes a directory's files as an archive.
func Tar(t TB, dir string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "dir.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}
