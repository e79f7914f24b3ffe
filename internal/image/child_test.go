package image_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"plane/internal/image"
)

// doing is what this test's program does in another process, to be killed.
type doing struct{ what, dir, with string }

const doingEnv = "PLANE_TEST_IMAGE"

func TestMain(m *testing.M) {
	if f := strings.SplitN(os.Getenv(doingEnv), "\n", 3); len(f) == 3 {
		if err := (doing{f[0], f[1], f[2]}).run(); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func (d doing) run() error {
	ctx, quiet := context.Background(), func(image.Progress) {}
	s, err := image.Open(d.dir, image.Options{})
	if err != nil {
		return err
	}
	switch d.what {
	case "pull":
		_, err = s.Pull(ctx, image.Request{Ref: image.Ref(d.with)}, quiet)
	case "import":
		_, err = s.Import(ctx, d.with, quiet)
	case "remove": // imports and removes until it is killed
		for err == nil {
			var refs []image.Ref
			if refs, err = s.Import(ctx, d.with, quiet); err == nil {
				err = s.Remove(ctx, refs[0])
			}
		}
	}
	return err
}

// start starts a process that does so.
func start(t *testing.T, d doing) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), doingEnv+"="+d.what+"\n"+d.dir+"\n"+d.with)
	c.Stderr = t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}
