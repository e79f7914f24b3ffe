package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// layerInfo is kept beside an unpacked layer.
type layerInfo struct {
	Size   int64  `json:"size"`             // bytes of its files
	Tree   string `json:"tree"`             // digest of what its files are called and who may do what with them
	Opaque bool   `json:"opaque,omitempty"` // all layers below it are hidden by it
}

// info reads what is kept beside a layer.
func (s *Store) info(key string) (layerInfo, bool) {
	var info layerInfo
	err := s.read(filepath.Join("layers", key, "info"), &info)
	return info, err == nil
}

// has reports whether a layer is here, whole: the first time it looks at each of
// its files, but not into them.
func (s *Store) has(key string) (layerInfo, bool) {
	info, ok := s.info(key)
	if !ok {
		return info, false
	}
	s.mu.Lock()
	known := s.sound[key]
	s.mu.Unlock()
	if known {
		_, err := os.Lstat(s.layerDir(key))
		return info, err == nil
	}
	if tree, err := treeOf(s.layerDir(key)); err != nil || tree != info.Tree {
		s.log.Warn("a layer of an image was changed or damaged on the disk; it is not used", "layer", key, "error", err)
		return info, false
	}
	s.mu.Lock()
	s.sound[key] = true
	s.mu.Unlock()
	return info, true
}

// Verify looks at all layers, so that those who start backends needn't wait for
// that.
func (s *Store) Verify(ctx context.Context) {
	layers, _ := os.ReadDir(s.path("layers"))
	for _, l := range layers {
		if ctx.Err() != nil {
			return
		}
		if !strings.Contains(l.Name(), damagedSuffix) {
			s.has(l.Name())
		}
	}
}

// treeOf is a digest of a directory with all below it: names, kinds, sizes,
// owners, modes and times of change. Whatever changes a file without wanting to
// hide it is seen, in 3 µs a file.
func treeOf(root string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size, owner, link := info.Size(), [2]uint32{}, ""
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = [2]uint32{st.Uid, st.Gid}
		}
		switch {
		case d.IsDir():
			size = 0 // depends on the file system
			if isOpaque(path) {
				link = "opaque"
			}
		case info.Mode()&fs.ModeSymlink != 0:
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(sum, "%q %o %d %d %d %q\n", path[len(root):], info.Mode(), size, owner, info.ModTime().UnixNano(), link)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

// damagedSuffix follows the key of a layer that was damaged, in the name of what is left of it.
const damagedSuffix = ".damaged-"

// setAside makes room for a layer that comes again. What is left of the damaged
// one stays for as long as a backend may have it mounted.
func (s *Store) setAside(key string) error {
	aside, err := os.MkdirTemp(s.path("layers"), key+damagedSuffix)
	if err != nil {
		return err
	}
	return os.Rename(s.path("layers", key), filepath.Join(aside, "was"))
}
