package volume

import (
	"context"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"
)

// A walk is bounded, so that a directory with millions of files keeps no
// processor busy: what it has counted until then is told.
const (
	maxEntries = 500_000
	maxWalk    = 5 * time.Second
)

// Size is how many bytes of the disk a directory takes, with everything below
// it. Where the file system counts that itself nothing is walked. It is too low
// where the walk was cut off or something can't be read.
func (s *Shelf) Size(ctx context.Context, dir string) int64 {
	if n, ok := s.counted(dir); ok {
		return n
	}
	ctx, cancel := context.WithTimeout(ctx, maxWalk)
	defer cancel()
	return walked(ctx, dir)
}

type inode struct{ device, number uint64 }

func walked(ctx context.Context, dir string) int64 {
	var bytes int64
	entries := 0
	linked := map[inode]bool{} // files with several names count once
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if entries++; entries > maxEntries || ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil {
			return nil //nolint:nilerr // it was removed, or its owner hides it
		}
		info, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			at := inode{uint64(st.Dev), st.Ino}
			if linked[at] {
				return nil
			}
			linked[at] = true
		}
		bytes += st.Blocks * 512
		return nil
	})
	return bytes
}
