package image_test

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"plane/internal/image"
	"plane/internal/image/imagetest"
)

// taken pulls an image of those layers.
func taken(t *testing.T, o image.Options, layers ...[]byte) (*image.Image, error) {
	t.Helper()
	reg := imagetest.NewRegistry(t, "", "")
	return pull(t, open(t, t.TempDir(), o), image.Request{Ref: ref(t, reg.Push(t, "app:1", imagetest.Image(t, v1.Config{}, layers...)))})
}

func TestWhatALayerRemovesIsInItselfWhereverItsLinksLead(t *testing.T) {
	needRoot(t)
	victim := t.TempDir()
	device, dir := filepath.Join(victim, "null"), filepath.Join(victim, "etc")
	if err := unix.Mknod(device, unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	link := imagetest.File{Name: "d", Type: tar.TypeSymlink, Link: victim}
	for name, files := range map[string][]imagetest.File{
		"a device":    {{Name: "d/.wh.null"}, link, {Name: "d/null/x"}},
		"a directory": {{Name: "d/.wh.etc"}, link},
		"opaque":      {{Name: "d/", Type: tar.TypeDir}, link, {Name: "d/etc/.wh..wh..opq"}},
		"up":          {{Name: "d/.wh.null"}, {Name: "d", Type: tar.TypeSymlink, Link: strings.Repeat("../", 40) + victim}, {Name: "d/null/x"}},
	} {
		_, err := taken(t, image.Options{}, imagetest.Layer(t, files...))
		t.Logf("%s: %v", name, err)
		if _, err := os.Lstat(device); err != nil {
			t.Fatalf("%s: a device of this machine is gone: %v", name, err)
		}
		if n, err := unix.Lgetxattr(dir, "trusted.overlay.opaque", nil); err == nil {
			t.Fatalf("%s: a directory of this machine was marked (%d bytes)", name, n)
		}
	}
}

func TestHardLinks(t *testing.T) {
	img, err := taken(t, image.Options{}, imagetest.Layer(t,
		imagetest.File{Name: "a", Body: []byte("x"), Mode: 0o600}, imagetest.File{Name: "sub/b", Type: tar.TypeLink, Link: "a", Mode: 0o600}))
	if err != nil {
		t.Fatal(err)
	}
	one, err1 := os.Stat(filepath.Join(img.Layers[0], "a"))
	two, err2 := os.Stat(filepath.Join(img.Layers[0], "sub/b"))
	if err1 != nil || err2 != nil || !os.SameFile(one, two) {
		t.Errorf("not one file: %v, %v", err1, err2)
	}
	_, err = taken(t, image.Options{}, imagetest.Layer(t, imagetest.File{Name: "a"}), imagetest.Layer(t, imagetest.File{Name: "b", Type: tar.TypeLink, Link: "a"}))
	if err == nil || !strings.Contains(err.Error(), "b is a hard link to what its layer doesn't have; build") {
		t.Errorf("of another layer: %v", err)
	}
	_, err = taken(t, image.Options{}, imagetest.Layer(t,
		imagetest.File{Name: "out", Type: tar.TypeSymlink, Link: "/"}, imagetest.File{Name: "passwd", Type: tar.TypeLink, Link: "out/etc/passwd"}))
	if err == nil {
		t.Error("a file of this machine was linked")
	}
}

func TestCapabilitiesCountOnlyInSandboxes(t *testing.T) {
	needRoot(t)
	capability := binary.LittleEndian.AppendUint32(nil, 0x02000001) // revision 2, effective
	capability = append(binary.LittleEndian.AppendUint32(capability, 1<<10), make([]byte, 12)...)
	attributes := map[string]string{
		"security.capability": string(capability), "user.note": "x", "trusted.overlay.redirect": "/etc", "security.selinux": "any",
		"system.posix_acl_access": "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x04\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff",
	}
	img, err := taken(t, image.Options{Shift: image.UserNamespace}, imagetest.Layer(t, imagetest.File{Name: "a", Mode: 0o4755, Attributes: attributes}))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(img.Layers[0], "a")
	b := make([]byte, 100)
	n, err := unix.Lgetxattr(path, "security.capability", b)
	if err != nil || n != 24 || binary.LittleEndian.Uint32(b) != 0x03000001 || binary.LittleEndian.Uint32(b[20:]) != 100_000 || b[5] != 4 {
		t.Errorf("capability %x, %v; want those of revision 3 for root 100000", b[:n], err)
	}
	for name, want := range map[string]bool{"user.note": true, "trusted.overlay.redirect": false, "security.selinux": false, "system.posix_acl_access": false} {
		if _, err := unix.Lgetxattr(path, name, b); (err == nil) != want {
			t.Errorf("attribute %s: %v", name, err)
		}
	}
	store := filepath.Dir(filepath.Dir(filepath.Dir(img.Layers[0])))
	if st, err := os.Stat(store); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("others of this machine get at setuid programs: %v, %v", st.Mode(), err)
	}
}

func TestPathsThatAreLong(t *testing.T) {
	img, err := taken(t, image.Options{}, imagetest.Layer(t, imagetest.File{Name: strings.Repeat("d/", 1000) + "a", Body: []byte("x")}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(img.Layers[0], strings.Repeat("d/", 1000)+"a")); err != nil {
		t.Error(err)
	}
	_, err = taken(t, image.Options{}, imagetest.Layer(t, imagetest.File{Name: strings.Repeat(strings.Repeat("d", 100)+"/", 41) + "a"}))
	if err == nil || !strings.Contains(err.Error(), "a path that is too long for this machine") || strings.Contains(err.Error(), os.TempDir()) {
		t.Errorf("got %v", err)
	}
}

func TestOwnersWithoutAPlaceAreSaid(t *testing.T) {
	needRoot(t)
	_, err := taken(t, image.Options{Shift: image.UserNamespace}, imagetest.Layer(t, imagetest.File{Name: "a", UID: 65_536}))
	if err == nil || !strings.Contains(err.Error(), "a belongs to 65536:0; owners above 65535 have no place") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkTenThousandFiles(b *testing.B) {
	files := []imagetest.File{{Name: "d/", Type: tar.TypeDir}}
	for i := range 10_000 {
		files = append(files, imagetest.File{Name: fmt.Sprintf("d/%d/%d", i%100, i), Body: []byte("text")})
	}
	path := imagetest.Archive(b, map[string]v1.Image{"many:1": imagetest.Image(b, v1.Config{}, imagetest.Layer(b, files...))})
	for b.Loop() {
		s, err := image.Open(b.TempDir(), image.Options{Shift: image.UserNamespace})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Import(b.Context(), path, func(image.Progress) {}); err != nil {
			b.Fatal(err)
		}
	}
}
