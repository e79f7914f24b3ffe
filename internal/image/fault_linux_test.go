package image_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane/internal/image"
	"plane/internal/image/imagetest"
)

func TestAFullDiskIsSaidAndLeftAsItWas(t *testing.T) {
	needRoot(t)
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(disk, "images")
	s := open(t, dir, image.Options{Shift: image.UserNamespace})
	reg := imagetest.NewRegistry(t, "", "")
	for name, body := range map[string][]byte{"fetched": noise(8 << 20), "unpacked": make([]byte, 8<<20)} {
		app := reg.Push(t, name, imagetest.Image(t, v1.Config{},
			imagetest.Layer(t, imagetest.File{Name: "fits", Body: []byte("x")}), imagetest.Layer(t, imagetest.File{Name: "a", Body: body})))
		_, err := pull(t, s, image.Request{Ref: ref(t, app)})
		if err == nil || !strings.Contains(err.Error(), "no space left for the image; free some") || strings.Contains(err.Error(), disk) {
			t.Errorf("%s: %v", name, err)
		}
		for _, p := range left(t, dir) {
			t.Errorf("%s left %s", name, p)
		}
	}
	if _, err := pull(t, s, image.Request{Ref: ref(t, reg.Push(t, "small", small(t, "x")))}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestAPullThatIsKilledWhileItUnpacksLeavesNothingHalf(t *testing.T) {
	var files []imagetest.File
	for i := range 4000 {
		files = append(files, imagetest.File{Name: strconv.Itoa(i), Body: []byte("x")})
	}
	img := imagetest.Image(t, v1.Config{}, imagetest.Layer(t, files...))
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	reg := imagetest.NewRegistry(t, "", "")
	app := reg.Push(t, "app:1", img)
	dir := killed(t, app)
	before := reg.Fetches()[digest.Hex]
	s := open(t, dir, image.Options{})
	for _, p := range left(t, dir) {
		if !strings.HasPrefix(p, "blobs/") {
			t.Errorf("left: %s", p)
		}
	}
	got, err := pull(t, s, image.Request{Ref: ref(t, app)})
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(got.Layers[0]); err != nil || len(entries) != len(files) {
		t.Errorf("%d of %d files, %v", len(entries), len(files), err)
	}
	if n := reg.Fetches()[digest.Hex]; n != before {
		t.Error("what had come whole was fetched again")
	}
}

// killed pulls app in another process, which is killed while it unpacks, and
// gives the directory.
func killed(t *testing.T, app string) (dir string) {
	t.Helper()
	for range 10 {
		dir = t.TempDir()
		c := start(t, doing{"pull", dir, app})
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			if some, _ := filepath.Glob(filepath.Join(dir, "tmp/work-*/layer-*/fs/0")); len(some) > 0 || time.Now().After(end) {
				break
			}
			if whole, _ := filepath.Glob(filepath.Join(dir, "layers/*")); len(whole) > 0 {
				break
			}
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		whole, _ := filepath.Glob(filepath.Join(dir, "layers/*"))
		if half, _ := filepath.Glob(filepath.Join(dir, "tmp/work-*/layer-*/fs/0")); len(whole) == 0 && len(half) > 0 {
			return dir
		}
		t.Log("it wasn't unpacking when it was killed; again")
	}
	t.Fatal("no process was killed while it unpacked")
	return ""
}
