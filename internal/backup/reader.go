package backup

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const maxJSON = 1 << 30 // bytes of the list of contents

// Reader unpacks a backup.
type Reader struct {
	root *os.Root
	tar  *tar.Reader
	got  map[string]item
	dirs []*tar.Header // modes and times are set last
	sum  Sum

	// Progress, if set, is called after each file.
	Progress func(Sum)
}

// Sum is how much has been unpacked.
func (r *Reader) Sum() Sum { return r.sum }

// Peek reads what a backup is of, without judging the rest.
func Peek(in io.Reader) (Head, error) {
	r := Reader{got: map[string]item{}}
	gz, err := gzip.NewReader(in)
	if err != nil {
		return Head{}, notBackup("it isn't compressed as one")
	}
	r.tar = tar.NewReader(gz)
	return r.head()
}

// Unpack reads a whole backup from in into root, which must be empty, and makes
// it durable. Nothing may be used of it unless the error is nil: only then is
// everything there that was written, and as it was written. Nothing is ever
// written outside of root. It ends with ctx, and its error is then ctx's.
func (r *Reader) Unpack(ctx context.Context, in io.Reader, root *os.Root) (Head, error) {
	head, err := r.unpack(interruptible{ctx, in}, root)
	if err != nil && ctx.Err() != nil {
		return head, ctx.Err() // not a damaged file
	}
	return head, err
}

// interruptible ends with its context.
type interruptible struct {
	ctx  context.Context // of one call
	from io.Reader
}

func (r interruptible) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(b)
}

func (r *Reader) unpack(in io.Reader, root *os.Root) (Head, error) {
	r.root, r.got = root, map[string]item{}
	var head Head
	gz, err := gzip.NewReader(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return head, notBackup("it isn't compressed as one")
	}
	r.tar = tar.NewReader(gz)
	if head, err = r.head(); err != nil {
		return head, err
	}
	all, err := r.items()
	if err != nil {
		return head, err
	}
	// What follows may only be padding, and the checksum of the compression.
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return head, damaged("there is something after its end")
	}
	if _, err := io.Copy(io.Discard, gz); err != nil {
		return head, damaged("its end is missing (%v)", err)
	}
	if err := r.compare(all); err != nil {
		return head, err
	}
	return head, r.settle()
}

func (r *Reader) head() (Head, error) {
	var head Head
	h, err := r.tar.Next()
	if err != nil || h.Name != headName {
		return head, notBackup("it doesn't begin as one")
	}
	if err := r.json(h, &head); err != nil {
		return head, err
	}
	if head.Format > Format {
		return head, said{ErrNewer, fmt.Sprintf("it has format %d and this program knows up to %d; use the newer program", head.Format, Format)}
	}
	return head, nil
}

func (r *Reader) json(h *tar.Header, v any) error {
	b, err := io.ReadAll(io.LimitReader(r.tar, maxJSON))
	if err != nil {
		return damaged("%s can't be read (%v)", h.Name, err)
	}
	r.got[h.Name] = item{Path: h.Name, Kind: kindFile, Size: int64(len(b)), SHA256: sumOf(b)}
	if err := json.Unmarshal(b, v); err != nil {
		return damaged("%s can't be read (%v)", h.Name, err)
	}
	return nil
}

// items unpacks everything up to the list of contents.
func (r *Reader) items() (contents, error) {
	var all contents
	for {
		h, err := r.tar.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return all, damaged("it is cut off")
		}
		if err != nil {
			return all, damaged("%v", err)
		}
		if h.Name == listName {
			return all, r.json(h, &all)
		}
		if err := r.one(h); err != nil {
			return all, err
		}
	}
}

func (r *Reader) one(h *tar.Header) error {
	name := strings.TrimSuffix(h.Name, "/")
	if !filepath.IsLocal(name) || name == "." {
		return damaged("it has a file named %q", h.Name)
	}
	if _, again := r.got[name]; again && h.Typeflag != tar.TypeDir {
		if err := r.root.RemoveAll(name); err != nil {
			return err
		}
	}
	if err := r.root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	i := item{Path: name}
	switch h.Typeflag {
	case tar.TypeDir:
		i.Kind = kindDir
		r.dirs = append(r.dirs, h)
		if err := r.root.MkdirAll(name, 0o700); err != nil {
			return err
		}
	case tar.TypeSymlink:
		i.Kind, i.SHA256 = kindLink, sumOf([]byte(h.Linkname))
		if err := r.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeReg:
		i.Kind = kindFile
		var err error
		if i.Size, i.SHA256, err = r.file(name, h); err != nil {
			return err
		}
	default:
		return damaged("%s is of no kind that a backup has", name)
	}
	r.got[name] = i
	return nil
}

func (r *Reader) file(name string, h *tar.Header) (size int64, sum string, err error) {
	f, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hash := sha256.New()
	in := &reading{r: r.tar}
	size, err = io.Copy(io.MultiWriter(f, hash), in)
	switch {
	case in.err != nil:
		return 0, "", damaged("%s can't be read (%v)", name, in.err)
	case err != nil:
		return 0, "", err
	}
	if err := errors.Join(f.Chmod(fs.FileMode(h.Mode).Perm()), f.Sync()); err != nil {
		return 0, "", err
	}
	r.sum.Files++
	r.sum.Bytes += size
	if r.Progress != nil {
		r.Progress(r.sum)
	}
	return size, hex.EncodeToString(hash.Sum(nil)), r.root.Chtimes(name, time.Time{}, h.ModTime)
}

// reading tells the errors of the archive from those of the disk.
type reading struct {
	r   io.Reader
	err error
}

func (r *reading) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// compare holds what was unpacked to the list, and drops what the list leaves
// out: files that were gone again when the backup was finished.
func (r *Reader) compare(all contents) error {
	got := map[string]item{}
	for name, i := range r.got {
		i.Path = listed(name)
		got[i.Path] = i
	}
	kept := map[string]bool{}
	for _, want := range all.Items {
		kept[want.Path] = true
		got, ok := got[want.Path]
		switch {
		case !ok:
			return damaged("%s is missing", want.Path)
		case got != want:
			return damaged("%s isn't what was written", want.Path)
		}
	}
	if !kept[headName] {
		return damaged("its list of contents is incomplete")
	}
	for name := range r.got {
		if !kept[listed(name)] && name != listName {
			if err := r.root.RemoveAll(name); err != nil {
				return err
			}
			r.dirs = slices.DeleteFunc(r.dirs, func(h *tar.Header) bool { return strings.TrimSuffix(h.Name, "/") == name })
		}
	}
	return nil
}

// settle gives directories their modes and makes their names durable, those
// below before those above.
func (r *Reader) settle() error {
	for _, h := range slices.Backward(r.dirs) {
		name := strings.TrimSuffix(h.Name, "/")
		d, err := r.root.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Chmod(fs.FileMode(h.Mode).Perm()), d.Sync(), d.Close()); err != nil {
			return err
		}
		if err := r.root.Chtimes(name, time.Time{}, h.ModTime); err != nil {
			return err
		}
	}
	d, err := r.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
