package image_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/image"
	"plane/internal/image/imagetest"
)

func TestArchivesAndLayoutsAreImportedUnderTheirNames(t *testing.T) {
	images := map[string]v1.Image{"one:1": small(t, "one"), "registry.example/team/two:2": small(t, "two")}
	layout := imagetest.Layout(t, images)
	for name, path := range map[string]string{"docker save": imagetest.Archive(t, images), "layout": layout, "archive of a layout": imagetest.Tar(t, layout)} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), image.Options{})
			refs, err := s.Import(context.Background(), path, func(image.Progress) {})
			slices.Sort(refs)
			if err != nil || !slices.Equal(refs, []image.Ref{"docker.io/library/one:1", "registry.example/team/two:2"}) {
				t.Fatalf("imported %v, %v", refs, err)
			}
			for _, r := range refs {
				if img, err := pull(t, s, image.Request{Ref: r, Policy: plane.PullNever}); err != nil || len(img.Layers) != 2 {
					t.Errorf("%s: %+v, %v", r, img, err)
				}
			}
		})
	}
}

func TestAnImageWithoutANameIsNotImported(t *testing.T) {
	s := open(t, t.TempDir(), image.Options{})
	path := imagetest.Layout(t, map[string]v1.Image{"latest": small(t, "x"), "one:1": small(t, "y")})
	_, err := s.Import(context.Background(), path, func(image.Progress) {})
	if err == nil || !strings.Contains(err.Error(), "without a name; give it one") {
		t.Errorf("got %v", err)
	}
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("there is %v, %v", all, err)
	}
}

func TestCompressedArchivesAreImported(t *testing.T) {
	plain := imagetest.Archive(t, map[string]v1.Image{"one:1": small(t, "x")})
	layout := imagetest.Tar(t, imagetest.Layout(t, map[string]v1.Image{"two:1": small(t, "y")}))
	for _, path := range []string{plain, layout} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".gz", packed.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		refs, err := open(t, t.TempDir(), image.Options{}).Import(t.Context(), path+".gz", func(image.Progress) {})
		if err != nil || len(refs) != 1 {
			t.Errorf("%v, %v", refs, err)
		}
	}
}
