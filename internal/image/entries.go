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
	allowed   *allowance
	whiteouts *whiteouts
	described map[string]bool // directories that have an entry
	needed    map[string]bool // directories that entries lie in
}

func newEntries(shift Shift, root string, allowed *allowance) *entries {
	return &entries{root: root, shift: shift, allowed: allowed, whiteouts: newWhiteouts(), described: map[string]bool{}, needed: map[string]bool{}}
}

// ofEntry is what an entry takes beside its content, at least.
const ofEntry = 512

// enter is an archive.Filter. It moves the owners of files into the range of the
// user namespace.
func (e *entries) enter(h *tar.Header) (bool, error) {
	// Nothing is believed of how much is to come: holes need no bytes in the archive.
	if err := e.allowed.take(max(h.Size, 0) + ofEntry); err != nil {
		return false, err
	}
	switch h.Typeflag {
	case tar.TypeBlock, tar.TypeChar: // devices are Plane's to give; an image's own are never made
		return false, nil
	case tar.TypeXGlobalHeader:
		return false, nil
	}
	if err := e.move(h); err != nil {
		return false, err
	}
	attributes(h, e.shift)
	name := path.Clean("/" + h.Name)
	if h.Typeflag == tar.TypeDir {
		e.described[name] = true
	}
	for dir := path.Dir(name); dir != "/" && !e.needed[dir]; dir = path.Dir(dir) {
		e.needed[dir] = true
		if err := e.whiteouts.wasRemoved(dir); err != nil {
			return false, err
		}
	}
	return true, nil
}

// move moves the owner of an entry.
func (e *entries) move(h *tar.Header) error {
	if e.shift == (Shift{}) {
		return nil
	}
	if h.Uid >= e.shift.Count || h.Gid >= e.shift.Count || h.Uid < 0 || h.Gid < 0 {
		return fmt.Errorf("%s belongs to %d:%d; owners above %d have no place in the user namespace of sandboxes", h.Name, h.Uid, h.Gid, e.shift.Count-1)
	}
	h.Uid += e.shift.First
	h.Gid += e.shift.First
	return nil
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
