package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	blobTries   = 5                // in a row with next to nothing, after which a registry is given up
	blobStep    = 64 << 10         // bytes that are more than that
	blobPause   = time.Second / 10 // after the first try; it doubles
	partialLife = 24 * time.Hour   // of what was begun and not continued
)

// blobFile is one layer as its registry keeps it, on its way here. What an
// interrupted pull has of it is continued by the next. One opener at a time
// writes it, in whatever process: it is locked.
type blobFile struct {
	*os.File
	from *registryLayer
	sum  hash.Hash
	have int64
}

var errDamaged = errors.New("it isn't what its digest says; the registry is damaged, or something on the way changes what it sends")

// errNoLayer: a registry has an image whose layers it hasn't.
var errNoLayer = errors.New("its registry has the image but not all of its layers; push it again, with those that are kept elsewhere (docker push --allow-nondistributable-artifacts)")

// fetch brings the whole blob here, checked, and gives its file. count hears of
// bytes as they come.
func (l *registryLayer) fetch(ctx context.Context, count func(int)) (*os.File, error) {
	b, err := l.openFile(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.complete(ctx, count); err != nil {
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, errDamaged) {
			_ = os.Remove(b.Name()) // while it is locked
		}
		_ = b.Close()
		return nil, err
	}
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if err := syscall.Flock(int(b.Fd()), syscall.LOCK_UN); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b.File, nil
}

// openFile opens the blob's file alone.
func (l *registryLayer) openFile(ctx context.Context) (*blobFile, error) {
	for {
		f, err := os.OpenFile(l.path(), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := wait(ctx, f, syscall.LOCK_EX); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		mine, err1 := f.Stat()
		there, err2 := os.Stat(l.path())
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return &blobFile{File: f, from: l}, nil
		}
		_ = f.Close() // removed by whoever had it
	}
}

// complete asks for what is missing until all is there, and checks it.
func (b *blobFile) complete(ctx context.Context, count func(int)) error {
	had, err := b.read()
	if err != nil {
		return err
	}
	count(int(had))
	pause := blobPause
	for tries := 0; b.have < b.from.size; {
		before := b.have
		err := b.ask(ctx, count)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			continue
		case !passing(err):
			return err
		}
		if b.have-before >= blobStep {
			tries, pause = 0, blobPause
		}
		if tries++; tries >= blobTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
	}
	if hex.EncodeToString(b.sum.Sum(nil)) == b.from.digest.Hex {
		return nil
	}
	if had == 0 {
		return errDamaged
	}
	// What was there before may be what is wrong: it wasn't synced.
	count(-int(b.have))
	if err := b.restart(); err != nil {
		return err
	}
	return b.complete(ctx, count)
}

// read adds what is there to the sum.
func (b *blobFile) read() (int64, error) {
	b.sum = sha256.New()
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.Copy(b.sum, b)
	b.have = n
	if err == nil && n > b.from.size {
		return 0, b.restart()
	}
	return n, err
}

func (b *blobFile) restart() error {
	b.sum, b.have = sha256.New(), 0
	if err := b.Truncate(0); err != nil {
		return err
	}
	_, err := b.Seek(0, io.SeekStart)
	return err
}

// ask makes one request for the rest.
func (b *blobFile) ask(ctx context.Context, count func(int)) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, b.from.url(), nil)
	if err != nil {
		return err
	}
	// Without an end some registries don't understand it.
	if b.have > 0 {
		q.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.have, b.from.size-1))
	}
	answer, err := b.from.client.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := transport.CheckError(answer, http.StatusOK, http.StatusPartialContent); err != nil {
		if answer.StatusCode == http.StatusNotFound {
			return fmt.Errorf("%w: %.19s…", errNoLayer, b.from.digest)
		}
		if answer.StatusCode == http.StatusRequestedRangeNotSatisfiable && b.have > 0 {
			count(-int(b.have))
			return b.restart()
		}
		return err
	}
	if answer.StatusCode == http.StatusOK && b.have > 0 { // it gives no parts
		count(-int(b.have))
		if err := b.restart(); err != nil {
			return err
		}
	}
	return b.copy(answer.Body, count)
}

func (b *blobFile) copy(body io.Reader, count func(int)) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if b.have+int64(n) > b.from.size {
				return errDamaged
			}
			if _, err := b.Write(buf[:n]); err != nil {
				return err
			}
			b.sum.Write(buf[:n])
			b.have += int64(n)
			count(n)
		}
		switch {
		case errors.Is(err, io.EOF) && b.have < b.from.size:
			return io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// passing reports whether another try may help.
func passing(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= 500
	}
	var file *os.PathError
	return !errors.As(err, &file) && !errors.Is(err, errDamaged) && !errors.Is(err, errNoLayer) && !errors.Is(err, errPlain) && !errors.Is(err, errLinkLocal)
}

// drop removes what has come of the blob, unless somebody else is at it.
func (l *registryLayer) drop() {
	f, err := os.OpenFile(l.path(), os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		_ = os.Remove(l.path())
	}
}

// dropPartials removes blobs that were begun and not continued: those older than
// age. The caller is alone with the store.
func (s *Store) dropPartials(age time.Duration) {
	entries, _ := os.ReadDir(s.path("blobs"))
	for _, e := range entries {
		if st, err := e.Info(); err != nil || time.Since(st.ModTime()) < age {
			continue
		}
		if err := os.Remove(filepath.Join(s.path("blobs"), e.Name())); err != nil {
			s.log.Warn("what an interrupted pull left can't be removed", "error", err)
		}
	}
}
