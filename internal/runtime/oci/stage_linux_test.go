package oci

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"plane/internal/drone/means"
)

// crun is told so, and doesn't see to it itself then.
func TestNothingCanWriteToTheLauncherOnAStage(t *testing.T) {
	needs(t)
	h, err := look(t.Context(), "crun")
	if err != nil {
		t.Skip(err)
	}
	defer h.close()
	var opened error
	err = means.Aside(func() error {
		if err := enterCopy(h); err != nil {
			return err
		}
		f, err := os.OpenFile(h.launcher, os.O_WRONLY, 0)
		if err == nil {
			_ = f.Close()
		}
		opened = err
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(opened, unix.EROFS) {
		t.Errorf("it can be opened for writing: %v", opened)
	}
}
