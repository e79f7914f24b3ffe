package image_test

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane/internal/image"
	"plane/internal/image/imagetest"
)

// laid mounts an image as a backend would have it.
func laid(t *testing.T, img *image.Image) string {
	t.Helper()
	at := t.TempDir()
	lower := slices.Clone(img.Layers)
	slices.Reverse(lower)
	lower = append(lower, t.TempDir()) // one alone can't be mounted
	if err := syscall.Mount("overlay", at, "overlay", syscall.MS_RDONLY, "lowerdir="+strings.Join(lower, ":")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	return at
}

func names(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLayersHideWhatTheyRemove(t *testing.T) {
	needRoot(t)
	file := func(name string) imagetest.File { return imagetest.File{Name: name} }
	dir := func(name string) imagetest.File { return imagetest.File{Name: name, Type: tar.TypeDir} }
	base := []imagetest.File{file("gone"), dir("opaque/"), file("opaque/old"), dir("again/"), file("again/old"), dir("stays/"), file("stays/old"), file("was-file")}
	for name, c := range map[string]struct {
		upper []imagetest.File
		want  []string
	}{
		"a file":                     {[]imagetest.File{file(".wh.gone")}, []string{"again/old", "opaque/old", "stays/old", "was-file"}},
		"all in a directory":         {[]imagetest.File{dir("opaque/"), file("opaque/.wh..wh..opq"), file("opaque/new")}, []string{"again/old", "gone", "opaque/new", "stays/old", "was-file"}},
		"a directory made anew":      {[]imagetest.File{file(".wh.again"), dir("again/"), file("again/new")}, []string{"again/new", "gone", "opaque/old", "stays/old", "was-file"}},
		"anew and removed after":     {[]imagetest.File{dir("again/"), file("again/new"), file(".wh.again")}, []string{"again/new", "gone", "opaque/old", "stays/old", "was-file"}},
		"anew without an entry":      {[]imagetest.File{file(".wh.again"), file("again/new")}, []string{"again/new", "gone", "opaque/old", "stays/old", "was-file"}},
		"a file that is a new file":  {[]imagetest.File{file("gone"), file(".wh.gone")}, []string{"again/old", "gone", "opaque/old", "stays/old", "was-file"}},
		"a file that is a directory": {[]imagetest.File{file(".wh.was-file"), file("was-file/new")}, []string{"again/old", "gone", "opaque/old", "stays/old", "was-file/new"}},
		"all":                        {[]imagetest.File{file(".wh..wh..opq"), file("new")}, []string{"new"}},
		"remains of aufs":            {[]imagetest.File{file(".wh..wh.plnk"), file(".wh..wh.aufs")}, []string{"again/old", "gone", "opaque/old", "stays/old", "was-file"}},
	} {
		t.Run(name, func(t *testing.T) {
			reg := imagetest.NewRegistry(t, "", "")
			app := reg.Push(t, "app:1", imagetest.Image(t, v1.Config{}, imagetest.Layer(t, base...), imagetest.Layer(t, c.upper...)))
			img, err := pull(t, open(t, t.TempDir(), image.Options{Shift: image.UserNamespace}), image.Request{Ref: ref(t, app)})
			if err != nil {
				t.Fatal(err)
			}
			if got := names(t, laid(t, img)); !slices.Equal(got, c.want) {
				t.Errorf("there is %v, want %v", got, c.want)
			}
		})
	}
}

func TestModesAndOwnersAreThoseOfTheImage(t *testing.T) {
	needRoot(t)
	base := imagetest.Layer(t,
		imagetest.File{Name: "tmp/", Type: tar.TypeDir, Mode: 0o1777},
		imagetest.File{Name: "home/", Type: tar.TypeDir, Mode: 0o750, UID: 5, GID: 6},
		imagetest.File{Name: "su", Mode: 0o4755})
	other := imagetest.Layer(t, imagetest.File{Name: "a"})
	// No entries for the directories that its files lie in.
	upper := imagetest.Layer(t, imagetest.File{Name: "tmp/x"}, imagetest.File{Name: "home/x", UID: 5}, imagetest.File{Name: "new/x"})
	reg := imagetest.NewRegistry(t, "", "")
	s := open(t, t.TempDir(), image.Options{Shift: image.UserNamespace})
	for _, c := range []struct {
		name string
		on   []byte
		want map[string][3]int // mode, owner, group
	}{
		{"plain", other, map[string][3]int{"tmp": {0o755, 100_000, 100_000}, "new": {0o755, 100_000, 100_000}}},
		{"described", base, map[string][3]int{
			"tmp": {0o1777, 100_000, 100_000}, "home": {0o750, 100_005, 100_006}, "new": {0o755, 100_000, 100_000},
			"su": {0o4755, 100_000, 100_000}, "home/x": {0o644, 100_005, 100_000},
		}},
	} {
		img, err := pull(t, s, image.Request{Ref: ref(t, reg.Push(t, c.name, imagetest.Image(t, v1.Config{}, c.on, upper)))})
		if err != nil {
			t.Fatal(err)
		}
		root := laid(t, img)
		for path, want := range c.want {
			var st syscall.Stat_t
			if err := syscall.Lstat(filepath.Join(root, path), &st); err != nil {
				t.Fatal(err)
			}
			if got := [3]int{int(st.Mode & 0o7777), int(st.Uid), int(st.Gid)}; got != want {
				t.Errorf("on %s: %s is %#o of %d:%d, want %#o of %d:%d", c.name, path, got[0], got[1], got[2], want[0], want[1], want[2])
			}
		}
	}
}
