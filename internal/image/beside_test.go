package image_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"plane/internal/image"
	"plane/internal/image/imagetest"
)

// `plane image pull` beside an agent that removes what it can: two stores on one
// directory, as two processes have them. What was pulled is there, whole.
func TestAPullBesideAnAgentThatCollectsIsWhole(t *testing.T) {
	const pulls = 8
	ctx, stop := context.WithCancel(t.Context())
	reg := imagetest.NewRegistry(t, "", "")
	dir := t.TempDir()
	agent, verb := open(t, dir, image.Options{}), open(t, dir, image.Options{})
	var collecting sync.WaitGroup
	for range 2 {
		collecting.Go(func() {
			for ctx.Err() == nil {
				if err := agent.GC(ctx, 0); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	defer collecting.Wait()
	defer stop()
	for i := range pulls {
		name := fmt.Sprintf("image%d", i)
		img, err := pull(t, verb, image.Request{Ref: ref(t, reg.Push(t, name, small(t, name)))})
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range img.Layers {
			if _, err := os.Stat(layer); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := agent.Hold(ctx, fmt.Sprintf("b%d", i), img.Digest); err != nil {
			t.Errorf("the agent can't use %s: %v", name, err)
		}
	}
	if all, err := agent.List(); err != nil || len(all) != pulls {
		t.Errorf("%d of %d are there, %v", len(all), pulls, err)
	}
}
