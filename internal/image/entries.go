package image

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// entries looks at each entry of one layer before it is unpacked.
type entries struct {
	root      string // where it is unpacked
	shift     Shift
	whiteouts *whiteouts
	described map[string]bool // directories that have an entry
	needed    map[string]bool // directories that entries lie in
}

func newEntries(shift Shift, root string) *entries {
	return &entries{root: root, shift: shift, whiteouts: newWhiteouts(), described: map[string]bool{}, needed: map[string]bool{}}
}

// enter is an archive.Filter. It moves the owners of files into the range of the
// user namespace.
func (e *entries) enter(h *tar.Header) (bool, error) {
	// Devices are Plane's to give; an image's own are never made.
	if h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeChar {
		return false, nil
	}
	if e.shift != (Shift{}) {
		if h.Uid >= e.shift.Count || h.Gid >= e.shift.Count || h.Uid < 0 || h.Gid < 0 {
			return false, fmt.Errorf("%s belongs to %d:%d; owners above %d have no place in the user namespace of sandboxes", h.Name, h.Uid, h.Gid, e.shift.Count-1)
		}
		h.Uid += e.shift.First
		h.Gid += e.shift.First
	}
	name := path.Clean("/" + h.Name)
	if h.Typeflag == tar.TypeDir {
		e.described[name] = true
	}
	for dir := path.Dir(name); dir != "/" && !e.needed[dir]; dir = path.Dir(dir) {
		e.needed[dir] = true
		if err := e.whiteouts.wasRemoved(filepath.Join(e.root, dir)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// implies reports whether there are directories without an entry of their own.
func (e *entries) implies() bool {
	for dir := range e.needed {
		if !e.described[dir] {
			return true
		}
	}
	return false
}

// ownImplied gives directories that no entry describes, in no layer, to root inside.
func (e *entries) ownImplied() error {
	if e.shift == (Shift{}) || !e.implies() {
		return nil
	}
	return filepath.WalkDir(e.root, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		if own, ok := st.Sys().(*syscall.Stat_t); ok && int(own.Uid) < e.shift.First {
			return os.Lchown(at, e.shift.First, e.shift.First)
		}
		return nil
	})
}
