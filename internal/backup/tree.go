package backup

import (
	"archive/tar"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

const treeRounds = 8

// look is what tells whether a file is still the one that was copied.
type look struct {
	info fs.FileInfo
	mode fs.FileMode
	size int64
	at   time.Time
}

func lookAt(i fs.FileInfo) look { return look{i, i.Mode(), i.Size(), i.ModTime()} }

// still reports whether now need not be copied again after was: the same file,
// unchanged or only longer.
func (was look) still(now look) bool {
	if !os.SameFile(was.info, now.info) || was.mode != now.mode {
		return false
	}
	return now.mode.IsRegular() && now.size > was.size || now.size == was.size && now.at.Equal(was.at) || now.mode.IsDir()
}

// Tree copies a directory that programs may be writing to. It looks again and
// copies what has changed, until a look finds nothing new, so that of several
// files none is of an older time than another one that replaced it. Sockets,
// pipes and devices are left out. It ends with ctx.
func (w *Writer) Tree(ctx context.Context, name, dir string) error {
	done := map[string]look{}
	for range treeRounds {
		news, err := w.round(ctx, name, dir, done)
		if err != nil || !news {
			return err
		}
	}
	return nil
}

// round copies what differs from done, and drops what is gone.
func (w *Writer) round(ctx context.Context, name, dir string, done map[string]look) (news bool, err error) {
	seen := map[string]bool{}
	err = filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone since it was listed
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		to, now := path.Join(name, filepath.ToSlash(rel)), lookAt(info)
		if was, ok := done[to]; ok && was.still(now) {
			seen[to] = true
			return nil
		}
		switch err := w.add(ctx, to, at, info); {
		case errors.Is(err, errLeftOut):
			return nil
		case errors.Is(err, fs.ErrNotExist):
			news = true
			return nil
		case err != nil:
			return err
		}
		seen[to], done[to], news = true, now, true
		return nil
	})
	for to := range done {
		if !seen[to] {
			w.forget(to)
			delete(done, to)
			news = true
		}
	}
	return news, err
}

var errLeftOut = errors.New("no kind of file that is kept")

func (w *Writer) add(ctx context.Context, name, at string, info fs.FileInfo) error {
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
	switch {
	case info.Mode().IsRegular():
		return w.File(ctx, name, at)
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		w.note(item{Path: name, Kind: kindDir})
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(at)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		w.note(item{Path: name, Kind: kindLink, SHA256: sumOf([]byte(target))})
	default:
		return errLeftOut
	}
	return w.tar.WriteHeader(h)
}
