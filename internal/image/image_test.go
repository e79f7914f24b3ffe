package image_test

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/image"
	"plane/internal/image/imagetest"
)

func open(t *testing.T, dir string, o image.Options) *image.Store {
	t.Helper()
	if os.Getuid() != 0 {
		o.Shift = image.Shift{}
	}
	s, err := image.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("not root; overlay mounts and owners of files need it")
	}
	t.Skip("not root; overlay mounts and owners of files need it")
}

func ref(t *testing.T, s string) image.Ref {
	t.Helper()
	r, err := image.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pull(t *testing.T, s *image.Store, r image.Request) (*image.Image, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return s.Pull(ctx, r, func(image.Progress) {})
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 30 s in vain until %s", what)
		}
	}
}

func small(t *testing.T, body string) v1.Image {
	return imagetest.Image(t, v1.Config{Cmd: []string{"/a"}},
		imagetest.Layer(t, imagetest.File{Name: "a", Body: []byte(body), UID: 7, GID: 8}, imagetest.File{Name: "old", Body: []byte("x")}),
		imagetest.Layer(t, imagetest.File{Name: ".wh.old"}, imagetest.File{Name: "b", Body: []byte(strings.Repeat(body, 1000))}))
}

func TestShortNamesMeanWhatTheyMeanToDocker(t *testing.T) {
	for in, want := range map[string]string{
		"redis": "docker.io/library/redis:latest", "redis:7": "docker.io/library/redis:7", "me/app": "docker.io/me/app:latest",
		"127.0.0.1:5000/app": "127.0.0.1:5000/app:latest", "registry.example/team/app:1": "registry.example/team/app:1",
	} {
		if got, err := image.ParseRef(in); err != nil || string(got) != want {
			t.Errorf("%s is %s, %v; want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "Redis", "a b", "app:", "../x"} {
		if got, err := image.ParseRef(bad); err == nil {
			t.Errorf("%q is taken as %s", bad, got)
		}
	}
	if got := ref(t, "redis").Short(); got != "redis" {
		t.Errorf("short form %s", got)
	}
}

func TestAnImageIsFetchedOnceHoweverManyAsk(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	name := ref(t, reg.Push(t, "app:1", small(t, "hello")))
	s := open(t, t.TempDir(), image.Options{Shift: image.UserNamespace})
	release := reg.Hold()
	defer release()
	gone, giveUp := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ctx := context.Background()
			if i == 0 {
				ctx = gone // one that gives up doesn't end it for the others
			}
			_, err := s.Pull(ctx, image.Request{Ref: name}, func(image.Progress) {})
			if err != nil && i != 0 {
				t.Error(err)
			}
		})
	}
	// Before all wait for it, one that gives up may be the only one.
	until(t, "all wait and the first fetch is there", func() bool { return s.Waiters(name) == 20 && len(reg.Fetches()) > 0 })
	giveUp()
	until(t, "one gave up", func() bool { return s.Waiters(name) == 19 })
	release()
	wg.Wait()
	for blob, n := range reg.Fetches() {
		if n != 1 {
			t.Errorf("blob %.12s was fetched %d times", blob, n)
		}
	}
	img, err := pull(t, s, image.Request{Ref: name, Policy: plane.PullNever})
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(img.Layers[0], "a"))
	if err != nil {
		t.Fatal(err)
	}
	if own := st.Sys().(*syscall.Stat_t); os.Getuid() == 0 && (own.Uid != 100_007 || own.Gid != 100_008) {
		t.Errorf("belongs to %d:%d", own.Uid, own.Gid)
	}
	if st, err := os.Lstat(filepath.Join(img.Layers[1], "old")); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("what a layer removes is %v, %v; want an overlay whiteout", st, err)
	}
}

func TestPoliciesAndCredentials(t *testing.T) {
	reg := imagetest.NewRegistry(t, "eve", "secret-word")
	name := ref(t, reg.Push(t, "app:1", small(t, "one")))
	s := open(t, t.TempDir(), image.Options{})
	right := &plane.Credentials{Username: "eve", Password: "secret-word"}
	for _, c := range []struct {
		r    image.Request
		want string
	}{
		{image.Request{Ref: name, Policy: plane.PullNever}, "pull_policy is Never"},
		{image.Request{Ref: name}, "credentials"},
		{image.Request{Ref: name, Credentials: &plane.Credentials{Username: "eve", Password: "wrong-word"}}, "credentials"},
		{image.Request{Ref: ref(t, reg.Host+"/none:1"), Credentials: right}, "no such image"},
		{image.Request{Ref: ref(t, "127.0.0.1:1/app:1")}, "can't be reached"},
	} {
		if _, err := pull(t, s, c.r); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "-word") {
			t.Errorf("%s: %v; want %q and no secret", c.r.Ref, err, c.want)
		}
	}
	first, err := pull(t, s, image.Request{Ref: name, Credentials: right})
	if err != nil {
		t.Fatal(err)
	}
	reg.Push(t, "app:1", small(t, "two"))
	if again, err := pull(t, s, image.Request{Ref: name, Credentials: right}); err != nil || again.Digest != first.Digest {
		t.Errorf("IfNotPresent: %v, %v", again, err)
	}
	if always, err := pull(t, s, image.Request{Ref: name, Policy: plane.PullAlways, Credentials: right}); err != nil || always.Digest == first.Digest {
		t.Errorf("Always: %v, %v", always, err)
	}
}

func TestAnInterruptedPullLeavesNothingAndGoesOn(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	big := strings.Repeat("0123456789abcdef", 1<<16)
	name := ref(t, reg.Push(t, "app:1", imagetest.Image(t, v1.Config{},
		imagetest.Layer(t, imagetest.File{Name: "a", Body: []byte(big)}), imagetest.Layer(t, imagetest.File{Name: "b", Body: []byte(big + "b")}))))
	dir := t.TempDir()
	s := open(t, dir, image.Options{})
	reg.Misbehave(imagetest.Fault{Cut: 1000})
	if _, err := pull(t, s, image.Request{Ref: name}); err == nil {
		t.Fatal("a broken blob was taken")
	}
	reg.Misbehave(imagetest.Fault{})
	if left, _ := os.ReadDir(filepath.Join(dir, "layers")); len(left) != 0 {
		t.Errorf("layers of a broken pull: %v", left)
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp", "layer-killed", "fs"), 0o755); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, image.Options{})
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := pull(t, s, image.Request{Ref: name}); err != nil {
		t.Fatal(err)
	}
}

func TestAnArchiveThatLeavesItsDirectoryWritesNothingOutside(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "store"), image.Options{})
	reg := imagetest.NewRegistry(t, "", "")
	for i, l := range [][]byte{
		imagetest.Layer(t, imagetest.File{Name: "../../../../escaped", Body: []byte("x")}),
		imagetest.Layer(t, imagetest.File{Name: "out", Type: tar.TypeSymlink, Link: dir}, imagetest.File{Name: "out/escaped", Body: []byte("x")}),
		imagetest.Layer(t, imagetest.File{Name: "hard", Type: tar.TypeLink, Link: "../../../format"}, imagetest.File{Name: "hard", Body: []byte("x")}),
	} {
		_, _ = pull(t, s, image.Request{Ref: ref(t, reg.Push(t, "bad:"+string(rune('a'+i)), imagetest.Image(t, v1.Config{}, l)))})
	}
	for _, p := range []string{filepath.Join(dir, "escaped"), filepath.Join(dir, "store", "escaped"), "/escaped"} {
		if _, err := os.Lstat(p); err == nil {
			t.Errorf("%s was written", p)
		}
	}
	if _, err := image.Open(filepath.Join(dir, "store"), image.Options{}); err != nil {
		t.Error(err)
	}
}

func TestALayerThatAnImageHasTwiceIsLaidOnce(t *testing.T) {
	a, b := imagetest.Layer(t, imagetest.File{Name: "a"}), imagetest.Layer(t, imagetest.File{Name: "b"})
	reg := imagetest.NewRegistry(t, "", "")
	s := open(t, t.TempDir(), image.Options{})
	img, err := pull(t, s, image.Request{Ref: ref(t, reg.Push(t, "app:1", imagetest.Image(t, v1.Config{}, a, b, a)))})
	if err != nil {
		t.Fatal(err)
	}
	if len(img.Layers) != 2 || img.Layers[0] == img.Layers[1] {
		t.Fatalf("layers %v", img.Layers)
	}
	if _, err := os.Stat(filepath.Join(img.Layers[1], "a")); err != nil {
		t.Errorf("the upper of two equal layers went: %v", err)
	}
}

func TestDevicesOfAnImageAreNotMade(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	name := ref(t, reg.Push(t, "app:1", imagetest.Image(t, v1.Config{},
		imagetest.Layer(t, imagetest.File{Name: "disk", Type: tar.TypeBlock}, imagetest.File{Name: "zero", Type: tar.TypeChar}, imagetest.File{Name: "a"}))))
	for _, shift := range []image.Shift{{}, image.UserNamespace} {
		img, err := pull(t, open(t, t.TempDir(), image.Options{Shift: shift}), image.Request{Ref: name})
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(img.Layers[0])
		if err != nil || len(entries) != 1 {
			t.Errorf("shift %v: %v, %v", shift, entries, err)
		}
	}
}

func TestAnotherArchitectureIsSaidSo(t *testing.T) {
	reg := imagetest.NewRegistry(t, "", "")
	name := ref(t, reg.Push(t, "app:1", imagetest.OfArchitecture(t, small(t, "x"), "s390x")))
	_, err := pull(t, open(t, t.TempDir(), image.Options{}), image.Request{Ref: name})
	if err == nil || !strings.Contains(err.Error(), "s390x") || !strings.Contains(err.Error(), "--platform") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsHeldStaysAndTheRestGoes(t *testing.T) {
	ctx := context.Background()
	path := imagetest.Archive(t, map[string]v1.Image{"one:1": small(t, "one"), "two:1": small(t, "two")})
	dir := t.TempDir()
	s := open(t, dir, image.Options{})
	refs, err := s.Import(ctx, path, func(image.Progress) {})
	if err != nil || len(refs) != 2 {
		t.Fatalf("%v, %v", refs, err)
	}
	one, err := pull(t, s, image.Request{Ref: ref(t, "one:1"), Policy: plane.PullNever})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Hold(ctx, "backend1", one.Digest); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, image.Options{Quota: 1}) // another process, which may keep next to nothing
	if err := s.Remove(ctx, ref(t, "one:1")); err == nil || !strings.Contains(err.Error(), "backend1") {
		t.Errorf("removed while held: %v", err)
	}
	if err := s.GC(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 2 {
		t.Fatalf("what was asked for just now is gone: %+v, %v", all, err)
	}
	s.SetGrace(0)
	if err := s.GC(ctx, 0); err != nil {
		t.Fatal(err)
	}
	all, err := s.List()
	if err != nil || len(all) != 1 || !slices.Equal(all[0].Users, []string{"backend1"}) {
		t.Fatalf("left %+v, %v", all, err)
	}
	if _, err := os.Stat(one.Layers[0]); err != nil {
		t.Errorf("a layer in use: %v", err)
	}
	if err := errors.Join(s.Release("backend1"), s.GC(ctx, 0)); err != nil {
		t.Fatal(err)
	}
	if s.Size() != 0 {
		t.Errorf("%d bytes left", s.Size())
	}
}

func TestAnArchivesImageIsKnownByItsID(t *testing.T) {
	img := small(t, "one")
	var last image.Progress
	s := open(t, t.TempDir(), image.Options{})
	if _, err := s.Import(context.Background(), imagetest.Archive(t, map[string]v1.Image{"one:1": img}), func(p image.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	id, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pull(t, s, image.Request{Ref: ref(t, "one:1"), Policy: plane.PullNever}); err != nil || got.Digest != id.String() {
		t.Errorf("%v, %v; want id %v", got, err, id)
	}
	if last.Total == 0 {
		t.Errorf("progress %+v", last)
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"redis", "a/b:c", "h:1/x@sha256:" + strings.Repeat("0", 64), "%", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := image.ParseRef(s)
		if err != nil {
			return
		}
		if again, err := image.ParseRef(r.Short()); err != nil || again != r {
			t.Errorf("%q is %q, whose short form %q is %q, %v", s, r, r.Short(), again, err)
		}
	})
}
