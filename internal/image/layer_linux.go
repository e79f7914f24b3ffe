package image

import (
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/pkg/archive"
	"golang.org/x/sys/unix"
)

// whiteout keeps what a layer removes in the form that overlay mounts read: each
// layer is unpacked by itself.
var whiteout = archive.OverlayConvertWhiteout

// syncTree makes all of dir durable at once: one call for the file system costs
// less than one for each of thousands of files.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
