package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// whiteouts keeps what one layer removes in the form that overlay mounts read:
// each layer is unpacked by itself. A layer may both remove a name and have it;
// then only what is below it is removed, in whatever order they come.
type whiteouts struct {
	removed map[string]bool // paths that this layer removes from those below
}

func newWhiteouts() *whiteouts { return &whiteouts{removed: map[string]bool{}} }

// convert is an archive.ConvertWhiteout; path lies in the layer's directory.
func (w *whiteouts) convert(h *tar.Header, path string) (write bool, err error) {
	dir, base := filepath.Split(path)
	switch {
	case base == whiteoutOpaque:
		return false, opaque(filepath.Clean(dir))
	case strings.HasPrefix(base, whiteoutMeta): // of a union file system of former times
		return false, nil
	case !strings.HasPrefix(base, whiteoutPrefix):
		return true, nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return false, fmt.Errorf("the layer removes %q, which is no name", h.Name)
	}
	gone := filepath.Join(dir, name)
	w.removed[gone] = true
	if _, err := os.Lstat(gone); !errors.Is(err, fs.ErrNotExist) {
		return false, err // the layer has it itself; done looks after directories
	}
	if err := unix.Mknod(gone, unix.S_IFCHR, 0); err != nil {
		return false, err
	}
	return false, os.Lchown(gone, h.Uid, h.Gid)
}

// done hides what lies below directories that the layer removes and has anew.
func (w *whiteouts) done() error {
	for path := range w.removed {
		if st, err := os.Lstat(path); err == nil && st.IsDir() {
			if err := opaque(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func opaque(dir string) error {
	if err := unix.Lsetxattr(dir, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("mark directory %s as replaced: %w", filepath.Base(dir), err)
	}
	return nil
}

// wasRemoved clears the mark of a name that is a directory of the layer after
// all, though no entry says so.
func (w *whiteouts) wasRemoved(path string) error {
	if !w.removed[path] {
		return nil
	}
	if st, err := os.Lstat(path); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return os.Remove(path)
}
