package image_test

import (
	"context"
	"io"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/image"
	"plane/internal/image/imagetest"
)

// engine has images as Docker would.
type engine struct {
	t    *testing.T
	has  map[image.Ref]v1.Image
	hung bool // it doesn't answer
	took int
}

func (e *engine) Inspect(ctx context.Context, r image.Ref) (string, error) {
	if e.hung {
		<-ctx.Done()
		return "", ctx.Err()
	}
	img, ok := e.has[r]
	if !ok {
		return "", image.ErrNotThere
	}
	id, err := img.ConfigName()
	return id.String(), err
}

func (e *engine) Save(_ context.Context, r image.Ref) (io.ReadCloser, error) {
	e.took++
	return os.Open(imagetest.Archive(e.t, map[string]v1.Image{string(r): e.has[r]}))
}

func TestAnImageOfTheLocalEngineIsFoundAndFollowed(t *testing.T) {
	app := ref(t, "app")
	e := &engine{t: t, has: map[image.Ref]v1.Image{app: small(t, "one")}}
	s := open(t, t.TempDir(), image.Options{Engine: e})
	digests := map[string]bool{}
	for _, body := range []string{"one", "two"} {
		e.has[app] = small(t, body)
		for range 2 {
			img, err := pull(t, s, image.Request{Ref: app})
			if err != nil {
				t.Fatal(err)
			}
			digests[img.Digest] = true
		}
	}
	if len(digests) != 2 || e.took != 2 {
		t.Errorf("images %v, copied %d times", slices.Collect(maps.Keys(digests)), e.took)
	}
}

func TestAnEnginesOlderCopyIsNoNews(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	app := ref(t, reg.Push(t, "app:1", small(t, "new")))
	e := &engine{t: t, has: map[image.Ref]v1.Image{app: small(t, "old")}}
	s := open(t, t.TempDir(), image.Options{Engine: e})
	pulled, err := pull(t, s, image.Request{Ref: app, Policy: plane.PullAlways})
	if err != nil {
		t.Fatal(err)
	}
	if img, err := pull(t, s, image.Request{Ref: app}); err != nil || img.Digest != pulled.Digest {
		t.Errorf("the older copy is taken: %v, %v", img, err)
	}
	e.has[app] = small(t, "built since")
	if img, err := pull(t, s, image.Request{Ref: app}); err != nil || img.Digest == pulled.Digest || e.took != 1 {
		t.Errorf("what was built since isn't taken: %v, %v", img, err)
	}
}

func TestWhatAnEngineAlsoHasIsNotCopied(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	app := ref(t, reg.Push(t, "app:1", small(t, "same")))
	e := &engine{t: t, has: map[image.Ref]v1.Image{}}
	s := open(t, t.TempDir(), image.Options{Engine: e})
	if _, err := pull(t, s, image.Request{Ref: app}); err != nil {
		t.Fatal(err)
	}
	e.has[app] = small(t, "same")
	if _, err := pull(t, s, image.Request{Ref: app}); err != nil || e.took != 0 {
		t.Errorf("copied %d times, %v", e.took, err)
	}
}

func TestAnEngineThatHangsHoldsNothingUp(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	app := ref(t, reg.Push(t, "app:1", small(t, "x")))
	e := &engine{t: t}
	s := open(t, t.TempDir(), image.Options{Engine: e})
	if _, err := pull(t, s, image.Request{Ref: app}); err != nil {
		t.Fatal(err)
	}
	e.hung = true
	began := time.Now()
	for range 50 {
		if _, err := pull(t, s, image.Request{Ref: app}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > 5*time.Second { // 15 s if each waited
		t.Errorf("50 starts waited %v for it", took)
	}
}
