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
	root    string
	in      *os.Root        // the layer, which links don't lead out of
	removed map[string]bool // paths that this layer removes from those below
}

func newWhiteouts() *whiteouts { return &whiteouts{removed: map[string]bool{}} }

// open has it work in the layer's directory, until close.
func (w *whiteouts) open(root string) (err error) {
	w.root = root
	w.in, err = os.OpenRoot(root)
	return err
}

func (w *whiteouts) close() { _ = w.in.Close() }

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
		if err := w.hide(path); err != nil {
			return err
		}
	}
	return nil
}

// hide marks a directory. Meanwhile links may lie on the way to it.
func (w *whiteouts) hide(path string) error {
	name, err := filepath.Rel(w.root, path)
	if err != nil {
		return err
	}
	if st, err := w.in.Lstat(name); err != nil || !st.IsDir() {
		return nil
	}
	dir, err := w.in.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return marked(name, unix.Fsetxattr(int(dir.Fd()), opaqueMark, []byte("y"), 0))
}

const opaqueMark = "trusted.overlay.opaque"

func opaque(dir string) error {
	return marked(dir, unix.Lsetxattr(dir, opaqueMark, []byte("y"), 0))
}

func marked(dir string, err error) error {
	if err != nil {
		return fmt.Errorf("mark directory %s as replaced: %w", filepath.Base(dir), err)
	}
	return nil
}

func isOpaque(dir string) bool {
	var b [2]byte
	n, err := unix.Lgetxattr(dir, opaqueMark, b[:])
	return err == nil && n == 1 && b[0] == 'y'
}

// wasRemoved clears the mark of a name, from the layer's root, that is a
// directory of the layer after all, though no entry says so.
func (w *whiteouts) wasRemoved(name string) error {
	if !w.removed[filepath.Join(w.root, name)] {
		return nil
	}
	name = strings.TrimPrefix(name, "/")
	if st, err := w.in.Lstat(name); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return w.in.Remove(name)
}
