package image_test

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/image"
	"plane/internal/image/imagetest"
)

// noise can't be compressed.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// large is an image of one layer of n bytes, and the digest and size of that.
func large(t *testing.T, n int) (img v1.Image, digest string, size int64) {
	t.Helper()
	img = imagetest.Image(t, v1.Config{}, imagetest.Layer(t, imagetest.File{Name: "a", Body: noise(n)}))
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return img, m.Layers[0].Digest.Hex, m.Layers[0].Size
}

// left lists what a store has in its directories of work.
func left(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, d := range []string{"tmp", "blobs", "layers"} {
		entries, err := os.ReadDir(filepath.Join(dir, d))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, d+"/"+e.Name())
		}
	}
	return all
}

func TestAPullThatIsCutGoesOnWhereItWas(t *testing.T) {
	img, digest, size := large(t, 2<<20)
	for name, c := range map[string]struct {
		fault imagetest.Fault
		most  int64
	}{
		"with ranges":    {imagetest.Fault{Cut: 700 << 10, Cuts: 3}, size + 64<<10},
		"without ranges": {imagetest.Fault{Cut: 700 << 10, Cuts: 2, NoRanges: true}, size + 700<<10},
	} {
		t.Run(name, func(t *testing.T) {
			reg := imagetest.NewRegistry(t, "", "")
			app := ref(t, reg.Push(t, "app:1", img))
			reg.Misbehave(c.fault)
			dir := t.TempDir()
			if _, err := pull(t, open(t, dir, image.Options{}), image.Request{Ref: app}); err != nil {
				t.Fatal(err)
			}
			if got := reg.Sent()[digest]; got < size || got > c.most {
				t.Errorf("%d bytes were sent of a blob of %d", got, size)
			}
			if got := left(t, dir); len(got) != 1 {
				t.Errorf("left: %v", got)
			}
		})
	}
}

func TestAPullThatWasGivenUpIsContinuedByTheNext(t *testing.T) {
	img, digest, size := large(t, 2<<20)
	reg := imagetest.NewRegistry(t, "", "")
	app := ref(t, reg.Push(t, "app:1", img))
	reg.Misbehave(imagetest.Fault{Cut: 1 << 20, Stall: true})
	dir := t.TempDir()
	ctx, giveUp := context.WithTimeout(context.Background(), 30*time.Second)
	defer giveUp()
	_, err := open(t, dir, image.Options{}).Pull(ctx, image.Request{Ref: app}, func(p image.Progress) {
		if p.Done > 900<<10 {
			giveUp()
		}
	})
	if err == nil {
		t.Fatal("it was whole")
	}
	reg.Misbehave(imagetest.Fault{})
	first := image.Progress{Done: -1}
	_, err = open(t, dir, image.Options{}).Pull(context.Background(), image.Request{Ref: app}, func(p image.Progress) {
		if p.Done > 0 && first.Done < 0 {
			first = p
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := reg.Sent()[digest]; got > size+512<<10 { // some was sent and not read
		t.Errorf("%d bytes were sent of a blob of %d", got, size)
	}
	if first.Done < 900<<10 || first.Total != size {
		t.Errorf("progress began at %+v", first)
	}
}

func TestARegistryThatLiesOrStallsIsGivenUpWithoutATrace(t *testing.T) {
	img, _, _ := large(t, 1<<20)
	reg := imagetest.NewRegistry(t, "", "")
	app := ref(t, reg.Push(t, "app:1", img))
	dir := t.TempDir()
	s := open(t, dir, image.Options{})
	reg.Misbehave(imagetest.Fault{Wrong: true, Least: 4 << 10})
	if _, err := pull(t, s, image.Request{Ref: app}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	if got := left(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	s.SetStall(20 * time.Millisecond)
	reg.Misbehave(imagetest.Fault{Cut: 1, Stall: true})
	if _, err := pull(t, s, image.Request{Ref: app}); err == nil || !strings.Contains(err.Error(), "stopped sending") {
		t.Errorf("of a configuration: %v", err)
	}
	reg.Misbehave(imagetest.Fault{Cut: 1, Stall: true, Least: 4 << 10})
	if _, err := pull(t, s, image.Request{Ref: app}); err == nil || !strings.Contains(err.Error(), "stopped sending") {
		t.Errorf("of a layer: %v", err)
	}
	reg.Misbehave(imagetest.Fault{})
	s.SetStall(30 * time.Second)
	if _, err := pull(t, s, image.Request{Ref: app}); err != nil {
		t.Error(err)
	}
}

func TestRegistriesWithTokens(t *testing.T) {
	reg := imagetest.NewTokenRegistry(t, "eve", "secret-word", "identity-word")
	app := ref(t, reg.Push(t, "app:1", small(t, "x")))
	for name, c := range map[string]struct {
		credentials *plane.Credentials
		want        string
	}{
		"identity token":       {&plane.Credentials{IdentityToken: "identity-word"}, ""},
		"name and password":    {&plane.Credentials{Username: "eve", Password: "secret-word"}, ""},
		"wrong identity token": {&plane.Credentials{IdentityToken: "other-word"}, "refuses the credentials; check executable.credentials"},
		"none":                 {nil, "give executable.credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pull(t, open(t, t.TempDir(), image.Options{}), image.Request{Ref: app, Credentials: c.credentials})
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "-word")):
				t.Errorf("got %v, want %q and no secret", err, c.want)
			}
		})
	}
}

func TestOfAnIndexThisMachinesImageIsTaken(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	mine := small(t, "mine")
	other := imagetest.OfArchitecture(t, small(t, "other"), "s390x")
	s := open(t, t.TempDir(), image.Options{})
	want, err := mine.Digest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := pull(t, s, image.Request{Ref: ref(t, reg.PushIndex(t, "both:1", imagetest.Index(t, other, mine)))})
	if err != nil || img.Digest != want.String() {
		t.Errorf("took %v, %v", img, err)
	}
	_, err = pull(t, s, image.Request{Ref: ref(t, reg.PushIndex(t, "other:1", imagetest.Index(t, other)))})
	if err == nil || !strings.Contains(err.Error(), "it is for linux/s390x, this machine is linux/"+runtime.GOARCH) {
		t.Errorf("got %v", err)
	}
}

func TestAddressesThatAreNoRegistries(t *testing.T) {
	s := open(t, t.TempDir(), image.Options{})
	for _, name := range []string{"169.254.169.254/app:1", "[fe80::1]:5000/app:1"} {
		if _, err := pull(t, s, image.Request{Ref: ref(t, name)}); err == nil || !strings.Contains(err.Error(), "link-local") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for host, want := range map[string]bool{"127.0.0.1": true, "127.1.2.3": true, "::1": true, "localhost": true, "r.localhost": true, "10.0.0.1": false, "registry.example": false, "localhost.example": false} {
		if image.SpeaksPlain(host) != want {
			t.Errorf("plain HTTP to %s: %v", host, !want)
		}
	}
}

func TestWhatIsNoImageIsRefusedInASentence(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	s := open(t, t.TempDir(), image.Options{})
	old := reg.PushManifest(t, "old:1", "application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1,"name":"old","tag":"1","fsLayers":[],"history":[]}`)
	if _, err := pull(t, s, image.Request{Ref: ref(t, old)}); err == nil || !strings.Contains(err.Error(), "not an image that Plane runs; push it again with a present version") {
		t.Errorf("schema 1: %v", err)
	}
	empty := reg.PushIndex(t, "empty:1", imagetest.Index(t))
	if _, err := pull(t, s, image.Request{Ref: ref(t, empty)}); err == nil || !strings.Contains(err.Error(), "it has nothing for linux/"+runtime.GOARCH) {
		t.Errorf("an empty index: %v", err)
	}
	img, digest, _ := large(t, 1<<10)
	app := reg.Push(t, "app:1", img)
	reg.Misbehave(imagetest.Fault{Missing: digest})
	if _, err := pull(t, s, image.Request{Ref: ref(t, app)}); err == nil || !strings.Contains(err.Error(), "has the image but not all of its layers; push it again") {
		t.Errorf("without a layer: %v", err)
	}
}
