package image

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

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
