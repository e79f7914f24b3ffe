package backup

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Sum is how much a writer or reader has done.
type Sum struct {
	Files int
	Bytes int64
	// Torn are files that were rewritten whenever they were copied: they may be
	// half old and half new, as after a power cut.
	Torn []string
}

// Writer writes a backup. The file has its name only once it is whole and durable.
type Writer struct {
	path  string
	file  *os.File
	spool *os.File // a file is copied whole before its size is promised
	gz    *gzip.Writer
	tar   *tar.Writer
	items map[string]item
	order []string
	torn  map[string]bool
	sum   Sum

	// Progress, if set, is called after each file.
	Progress func(Sum)
}

// Create begins a backup at path (mode 0600), and writes to another file beside
// it until Finish. An existing path is refused unless replace.
func Create(path string, replace Replace) (_ *Writer, err error) {
	switch there, err := os.Lstat(path); {
	case err == nil && there.IsDir():
		return nil, fmt.Errorf("%s is a directory; name a file in it", path)
	case err == nil && replace != Overwrite:
		return nil, said{fs.ErrExist, path + " exists; choose another name, or overwrite it with --force"}
	}
	// A name that nobody knows before: where others may write too, a known one
	// could be a link to something else, or another backup's.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, err
	}
	spool, err := os.CreateTemp(filepath.Dir(path), ".plane-backup-*")
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	_ = os.Remove(spool.Name())
	gz, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	return &Writer{path: path, file: f, spool: spool, gz: gz, tar: tar.NewWriter(gz), items: map[string]item{}, torn: map[string]bool{}}, nil
}

// Replace says what becomes of a file that is there.
type Replace int

// Keep refuses; Overwrite replaces it in one step.
const (
	Keep Replace = iota
	Overwrite
)

// Sum is how much has been written.
func (w *Writer) Sum() Sum {
	s := w.sum
	s.Torn = slices.Sorted(maps.Keys(w.torn))
	return s
}

// Head writes what the backup is of; it comes first.
func (w *Writer) Head(h Head) error {
	h.Format = Format
	return w.json(headName, h)
}

func (w *Writer) json(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := w.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b)), ModTime: time.Now()}); err != nil {
		return err
	}
	_, err = w.tar.Write(b)
	w.note(item{Path: name, Kind: kindFile, Size: int64(len(b)), SHA256: sumOf(b)})
	return err
}

// File copies one file. One that isn't there, or no longer a file, is
// fs.ErrNotExist. It ends with ctx.
func (w *Writer) File(ctx context.Context, name, path string) error {
	c, err := w.copy(ctx, path)
	if err != nil {
		return err
	}
	return w.put(name, c)
}

// note remembers an item; the latest of a path counts.
func (w *Writer) note(i item) {
	name := i.Path
	i.Path = listed(name)
	if _, again := w.items[name]; !again {
		w.order = append(w.order, name)
	}
	w.items[name] = i
}

// forget takes a path out of the contents: what the archive holds of it is
// dropped when it is read.
func (w *Writer) forget(name string) {
	delete(w.items, name)
	delete(w.torn, name)
}

// copied is a file in the spool.
type copied struct {
	info fs.FileInfo
	size int64
	sum  string
	torn bool
}

const copyTries = 4

// copy brings a file to the spool as it was at one moment, if it can: one that
// only grew meanwhile is taken at its former length.
func (w *Writer) copy(ctx context.Context, path string) (c copied, err error) {
	for range copyTries {
		f, err := openFile(path)
		if err != nil {
			return c, err
		}
		c, err = w.copyOnce(ctx, f)
		_ = f.Close()
		if err != nil || !c.torn {
			return c, err
		}
	}
	return c, nil
}

// openFile opens a plain file, which a program may since have replaced by a link
// that leads elsewhere, or by a pipe that would be waited at.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) { // a link; a socket
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return f, err
}

func (w *Writer) copyOnce(ctx context.Context, f *os.File) (c copied, err error) {
	if c.info, err = f.Stat(); err != nil {
		return c, err
	}
	if !c.info.Mode().IsRegular() {
		return c, &fs.PathError{Op: "read", Path: f.Name(), Err: fs.ErrNotExist}
	}
	in := interruptible{ctx, f}
	if err := w.spool.Truncate(0); err != nil {
		return c, err
	}
	if _, err := w.spool.Seek(0, io.SeekStart); err != nil {
		return c, err
	}
	h := sha256.New()
	if c.size, err = io.Copy(io.MultiWriter(w.spool, h), io.LimitReader(in, c.info.Size())); err != nil {
		return c, err
	}
	c.sum = hex.EncodeToString(h.Sum(nil))
	now, err := f.Stat()
	if err != nil {
		return c, err
	}
	if c.size == c.info.Size() && now.Size() == c.size && now.ModTime().Equal(c.info.ModTime()) {
		return c, nil
	}
	// It was written to. If what was copied is still there, it is whole.
	h.Reset()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return c, err
	}
	n, err := io.Copy(h, io.LimitReader(in, c.size))
	c.torn = n != c.size || hex.EncodeToString(h.Sum(nil)) != c.sum
	return c, err
}

// put moves the spool to the archive.
func (w *Writer) put(name string, c copied) error {
	if _, err := w.spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	err := w.tar.WriteHeader(&tar.Header{
		Name: name, Mode: int64(c.info.Mode().Perm()), Size: c.size, ModTime: c.info.ModTime(), Format: tar.FormatPAX,
	})
	if err != nil {
		return err
	}
	if _, err := io.Copy(w.tar, io.LimitReader(w.spool, c.size)); err != nil {
		return err
	}
	w.note(item{Path: name, Kind: kindFile, Size: c.size, SHA256: c.sum})
	w.sum.Files++
	w.sum.Bytes += c.size
	delete(w.torn, name)
	if c.torn {
		w.torn[name] = true
	}
	if w.Progress != nil {
		w.Progress(w.sum)
	}
	return nil
}

// Finish writes the list of contents, makes the file durable and gives it its name.
func (w *Writer) Finish() error {
	var all contents
	for _, name := range w.order {
		if i, ok := w.items[name]; ok {
			all.Items = append(all.Items, i)
			delete(w.items, name) // one that went and came back is in order twice
		}
	}
	if err := w.json(listName, all); err != nil {
		return err
	}
	err := errors.Join(w.tar.Close(), w.gz.Close())
	if err == nil {
		err = w.file.Sync()
	}
	if err == nil {
		err = os.Rename(w.file.Name(), w.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(w.path))
	}
	if err != nil {
		return err // Close removes the unfinished file
	}
	err = errors.Join(w.spool.Close(), w.file.Close())
	w.file = nil
	return err
}

// Close gives up what isn't finished, and removes it. After Finish it does nothing.
func (w *Writer) Close() {
	if w.file == nil {
		return
	}
	_ = w.spool.Close()
	_ = w.file.Close()
	_ = os.Remove(w.file.Name())
	w.file = nil
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
