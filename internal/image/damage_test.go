package image_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plane"
	"plane/internal/image"
	"plane/internal/image/imagetest"
)

// only gives the one path that a pattern stands for.
func only(t *testing.T, pattern ...string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil || len(all) != 1 {
		t.Fatalf("%s: %v, %v", filepath.Join(pattern...), all, err)
	}
	return all[0]
}

func TestWhatIsDamagedIsNoticedAndComesAgain(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	app := ref(t, reg.Push(t, "app:1", small(t, "hello")))
	truncate := func(path string) error { return os.Truncate(path, 1) }
	for name, damage := range map[string]func(dir string, img *image.Image) error{
		"a file is shorter": func(_ string, img *image.Image) error { return truncate(filepath.Join(img.Layers[0], "a")) },
		"a file is gone":    func(_ string, img *image.Image) error { return os.Remove(filepath.Join(img.Layers[1], "b")) },
		"a file more": func(_ string, img *image.Image) error {
			return os.WriteFile(filepath.Join(img.Layers[0], "c"), nil, 0o644)
		},
		"another's":              func(_ string, img *image.Image) error { return os.Lchown(filepath.Join(img.Layers[0], "a"), 1, 1) },
		"a program may be run":   func(_ string, img *image.Image) error { return os.Chmod(filepath.Join(img.Layers[0], "a"), 0o755) },
		"a layer is gone":        func(_ string, img *image.Image) error { return os.RemoveAll(img.Layers[0]) },
		"all of a layer is gone": func(_ string, img *image.Image) error { return os.RemoveAll(filepath.Dir(img.Layers[0])) },
		"what is known of layers": func(_ string, img *image.Image) error {
			return truncate(filepath.Join(filepath.Dir(img.Layers[0]), "info"))
		},
		"the image": func(dir string, _ *image.Image) error { return truncate(only(t, dir, "images", "*")) },
		"the name":  func(dir string, _ *image.Image) error { return truncate(only(t, dir, "names", "*")) },
	} {
		t.Run(name, func(t *testing.T) {
			if name == "another's" {
				needRoot(t)
			}
			dir := t.TempDir()
			img, err := pull(t, open(t, dir, image.Options{}), image.Request{Ref: app})
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(dir, img); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir, image.Options{})
			s.Verify(t.Context())
			if _, err := pull(t, s, image.Request{Ref: app, Policy: plane.PullNever}); err == nil {
				t.Error("it was served")
			}
			again, err := pull(t, s, image.Request{Ref: app})
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(again.Layers[0], "a")); err != nil || string(b) != "hello" {
				t.Errorf("there is %q, %v", b, err)
			}
			if b, err := os.ReadFile(filepath.Join(again.Layers[1], "b")); err != nil || len(b) != 5000 {
				t.Errorf("there are %d bytes, %v", len(b), err)
			}
			if err := s.GC(t.Context(), 0); err != nil || s.Layers() != 2 {
				t.Errorf("%d layers are left, %v", s.Layers(), err)
			}
		})
	}
}

func TestWhatABackendMayHaveMountedStaysThoughItIsDamaged(t *testing.T) {
	ctx := context.Background()
	reg := imagetest.NewRegistry(t, "", "")
	app := ref(t, reg.Push(t, "app:1", small(t, "hello")))
	dir := t.TempDir()
	s := open(t, dir, image.Options{})
	img, err := pull(t, s, image.Request{Ref: app})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Hold(ctx, "backend1", img.Digest); err != nil {
		t.Fatal(err)
	}
	mounted, err := os.Open(img.Layers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer mounted.Close()
	if err := os.Remove(filepath.Join(img.Layers[0], "old")); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, image.Options{})
	if _, err := pull(t, s, image.Request{Ref: app}); err != nil {
		t.Fatal(err)
	}
	if err := s.GC(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if names, err := mounted.Readdirnames(-1); err != nil || len(names) != 1 {
		t.Errorf("what was mounted has %v, %v", names, err)
	}
	if err := s.Release("backend1"); err != nil {
		t.Fatal(err)
	}
	if err := s.GC(ctx, 0); err != nil || s.Layers() != 2 {
		t.Errorf("%d layers are left, %v", s.Layers(), err)
	}
}

func TestNothingIsRemovedWhileItIsntKnownWhatIsHeld(t *testing.T) {
	ctx := context.Background()
	for _, damaged := range []string{"holds", "images"} {
		t.Run(damaged, func(t *testing.T) {
			reg := imagetest.NewRegistry(t, "", "")
			dir := t.TempDir()
			s := open(t, dir, image.Options{Quota: 1 << 30})
			img, err := pull(t, s, image.Request{Ref: ref(t, reg.Push(t, "app:1", small(t, "hello")))})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Hold(ctx, "backend1", img.Digest); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(only(t, dir, damaged, "*"), 3); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, image.Options{Quota: 1})
			s.SetGrace(0)
			if err := s.GC(ctx, 0); err == nil || !strings.Contains(err.Error(), "nothing is removed until it has ended") {
				t.Errorf("got %v", err)
			}
			for _, l := range img.Layers {
				if _, err := os.Stat(l); err != nil {
					t.Error(err)
				}
			}
			if _, ok := s.Holds()["backend1"]; !ok {
				t.Error("who holds it isn't known, so that nobody ends that")
			}
			if err := s.Release("backend1"); err != nil {
				t.Fatal(err)
			}
			if err := s.GC(ctx, 0); err != nil || s.Layers() != 0 {
				t.Errorf("%d layers are left, %v", s.Layers(), err)
			}
		})
	}
}

func TestAStoreThatCantBeReadSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, image.Options{})
	if err := os.Truncate(filepath.Join(dir, "format"), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := image.Open(dir, image.Options{}); err == nil || !strings.Contains(err.Error(), "remove the directory once no backend uses it") {
		t.Errorf("got %v", err)
	}
}

func TestADamagedLayerIsLogged(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	dir := t.TempDir()
	img, err := pull(t, open(t, dir, image.Options{}), image.Request{Ref: ref(t, reg.Push(t, "app:1", small(t, "x")))})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(img.Layers[0], "a")); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	open(t, dir, image.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}).Verify(t.Context())
	if !strings.Contains(log.String(), "a layer of an image was changed or damaged on the disk") {
		t.Errorf("log: %s", &log)
	}
}
