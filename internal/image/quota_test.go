package image_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plane"
	"plane/internal/image"
	"plane/internal/image/imagetest"
)

// zeros is an image that takes n bytes unpacked and next to nothing before.
func zeros(t *testing.T, name string, n int) v1.Image {
	return imagetest.Image(t, v1.Config{},
		imagetest.Layer(t, imagetest.File{Name: "of-" + name, Body: []byte("x")}), imagetest.Layer(t, imagetest.File{Name: name, Body: make([]byte, n)}))
}

func TestWhatGrowsBeyondTheQuotaIsRefusedAndLeavesNothing(t *testing.T) {
	var many []imagetest.File
	for i := range 2_500 {
		many = append(many, imagetest.File{Name: strconv.Itoa(i)})
	}
	reg := imagetest.NewRegistry(t, "", "")
	loaded, _, _ := large(t, 1200<<10)
	for name, img := range map[string]v1.Image{
		"grows": zeros(t, "a", 4<<20), "is-large": loaded, "is-many": imagetest.Image(t, v1.Config{}, imagetest.Layer(t, many...)),
	} {
		dir := t.TempDir()
		s := open(t, dir, image.Options{Quota: 1 << 20})
		_, err := pull(t, s, image.Request{Ref: ref(t, reg.Push(t, name, img))})
		if err == nil || !strings.Contains(err.Error(), "doesn't fit below the quota of this machine's images (--image-quota 1048576 bytes)") {
			t.Errorf("%s: %v", name, err)
		}
		if l := left(t, dir); len(l) > 0 {
			t.Errorf("%s left %v", name, l)
		}
	}
}

func TestUnusedImagesMakeRoomForOthers(t *testing.T) {
	ctx := context.Background()
	reg := imagetest.NewRegistry(t, "", "")
	s := open(t, t.TempDir(), image.Options{Quota: 1 << 20})
	s.SetGrace(0)
	one, two := ref(t, reg.Push(t, "one", zeros(t, "a", 600<<10))), ref(t, reg.Push(t, "two", zeros(t, "b", 600<<10)))
	if _, err := pull(t, s, image.Request{Ref: one}); err != nil {
		t.Fatal(err)
	}
	img, err := pull(t, s, image.Request{Ref: two})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 || all[0].Ref != two {
		t.Errorf("there is %+v, %v", all, err)
	}
	if err := s.Hold(ctx, "backend1", img.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t, s, image.Request{Ref: one}); err == nil || !strings.Contains(err.Error(), "--image-quota") {
		t.Errorf("beyond what is held: %v", err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 || all[0].Ref != two {
		t.Errorf("there is %+v, %v", all, err)
	}
}

func TestPullsWithoutEndKeepNothingFromBeingRemoved(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	reg := imagetest.NewRegistry(t, "", "")
	base := imagetest.Layer(t, imagetest.File{Name: "base", Body: []byte("x")})
	used := ref(t, reg.Push(t, "used", small(t, "used")))
	old := ref(t, reg.Push(t, "old", small(t, "old")))
	shared := ref(t, reg.Push(t, "shared", imagetest.Image(t, v1.Config{}, base)))
	slow := ref(t, reg.Push(t, "slow", imagetest.Image(t, v1.Config{}, base, imagetest.Layer(t, imagetest.File{Name: "top", Body: noise(1 << 20)}))))
	s := open(t, t.TempDir(), image.Options{})
	for _, r := range []image.Ref{old, shared, used} {
		if _, err := pull(t, s, image.Request{Ref: r}); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Pull(ctx, image.Request{Ref: used, Policy: plane.PullNever}, func(image.Progress) {}); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	reg.Misbehave(imagetest.Fault{Cut: 64 << 10, Stall: true, Least: 64 << 10})
	came := make(chan struct{})
	begun := sync.OnceFunc(func() { close(came) })
	slowly, giveUp := context.WithCancel(ctx)
	defer giveUp()
	ended := make(chan struct{})
	all.Go(func() { // one that takes long, and needs a layer that is here
		_, err := s.Pull(slowly, image.Request{Ref: slow}, func(p image.Progress) {
			if p.Done > 0 {
				begun()
			}
		})
		if err == nil {
			t.Error("it was whole")
		}
		close(ended)
	})
	select {
	case <-came:
	case <-time.After(30 * time.Second):
		t.Fatal("the slow pull didn't begin")
	}
	for _, r := range []image.Ref{old, shared} {
		if err := s.Remove(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.GC(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if got := s.Layers(); got != 3 { // two that are used, and the base of what is on its way
		t.Errorf("%d layers, want 3", got)
	}
	giveUp()
	<-ended
	if err := s.GC(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if got := s.Layers(); got != 2 {
		t.Errorf("%d layers, want 2", got)
	}
}

func TestWhoWantsToBeAloneComesInThoughTheStoreIsNeverFree(t *testing.T) {
	s := open(t, t.TempDir(), image.Options{})
	ctx, stop := context.WithCancel(context.Background())
	var came atomic.Int32
	var all sync.WaitGroup
	for range 2 { // each stays until the other has come, or for a while
		all.Go(func() {
			for ctx.Err() == nil {
				leave, err := s.Share(ctx)
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				turn := came.Add(1)
				for end := time.Now().Add(100 * time.Millisecond); came.Load() == turn && time.Now().Before(end) && ctx.Err() == nil; {
					time.Sleep(time.Millisecond)
				}
				leave()
			}
		})
	}
	until(t, "both come and go", func() bool { return came.Load() > 4 })
	for range 5 {
		if err := s.GC(ctx, 0); err != nil {
			t.Error(err)
		}
	}
	stop()
	all.Wait()
}
