package image_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/image"
	"plane/internal/image/imagetest"
)

// several is an image of a few layers with some hundred files each.
func several(t *testing.T) v1.Image {
	var layers [][]byte
	for l := range 4 {
		var files []imagetest.File
		for i := range 200 {
			files = append(files, imagetest.File{Name: fmt.Sprintf("l%d/%d", l, i), Body: []byte("some text")})
		}
		layers = append(layers, imagetest.Layer(t, append(files, imagetest.File{Name: fmt.Sprintf("l%d/noise", l), Body: noise(100 << 10)})...))
	}
	return imagetest.Image(t, v1.Config{}, layers...)
}

func TestWhoeverIsKilledLeavesAStoreThatIsWhole(t *testing.T) {
	img := several(t)
	reg := imagetest.NewRegistry(t, "", "")
	reg.Misbehave(imagetest.Fault{PauseEach: 2 * time.Millisecond})
	app := reg.Push(t, "app:1", img)
	archive := imagetest.Archive(t, map[string]v1.Image{app: img})
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for what, with := range map[string]string{"pull": app, "import": archive, "remove": archive} {
		t.Run(what, func(t *testing.T) {
			for range rounds {
				dir := t.TempDir()
				c := start(t, doing{what, dir, with})
				// Any moment is as good as another: of a pull, of an import, of a removal.
				time.Sleep(time.Duration(20+rand.N(300)) * time.Millisecond)
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = c.Wait()
				whole(t, dir, app)
			}
		})
	}
}

// whole fails unless a store has only what is whole, and serves app.
func whole(t *testing.T, dir, app string) {
	t.Helper()
	s := open(t, dir, image.Options{})
	for _, p := range left(t, dir) {
		if len(p) > 4 && p[:4] == "tmp/" {
			t.Errorf("left: %s", p)
		}
	}
	if n := s.Damaged(); n > 0 {
		t.Errorf("%d layers aren't whole", n)
	}
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if _, err := pull(t, s, image.Request{Ref: l.Ref, Policy: plane.PullNever}); err != nil {
			t.Errorf("listed and not there: %v", err)
		}
	}
	got, err := pull(t, s, image.Request{Ref: ref(t, app)})
	if err != nil || len(got.Layers) != 4 {
		t.Fatalf("afterwards: %+v, %v", got, err)
	}
	if err := s.GC(t.Context(), 0); err != nil || s.Layers() != 4 {
		t.Errorf("%d layers, %v", s.Layers(), err)
	}
}
