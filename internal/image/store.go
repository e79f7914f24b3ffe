package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"plane/internal/flight"
)

// formatVersion is that of the layout on disk.
const formatVersion = 1

// Shift is how the owners of unpacked files differ from those in the image: 0
// inside is First on this machine, for Count ids. The zero Shift is none.
type Shift struct {
	First int `json:"first"`
	Count int `json:"count"`
}

// UserNamespace is the shift that all sandboxes of a machine share.
var UserNamespace = Shift{First: 100_000, Count: 65_536}

// Options of a Store.
type Options struct {
	Log    *slog.Logger // nil = none
	Shift  Shift        // of a store that has to be made; one that exists keeps its own
	Quota  int64        // bytes that GC keeps below; 0 = no limit
	Engine Engine       // nil = none
}

// Engine is a local container engine whose images are found here too.
type Engine interface {
	// Inspect gives the engine's id of an image. ErrNotThere if it has none of
	// that name; any other error means that nothing is known.
	Inspect(ctx context.Context, ref Ref) (id string, err error)
	// Save writes the image as an archive.
	Save(ctx context.Context, ref Ref) (io.ReadCloser, error)
}

// ErrNotThere: there is no such image.
var ErrNotThere = errors.New("no such image")

// Store is images on disk. Several may be open on one directory, in any number of
// processes. Safe for concurrent use.
type Store struct {
	dir   string
	log   *slog.Logger
	shift Shift
	quota int64
	from  Engine
	stall time.Duration // how long a registry may send nothing
	grace time.Duration // justNow

	flights flight.Group[flightKey, *Image, Progress] // pulls

	mu        sync.Mutex      // guards the fields below
	sound     map[string]bool // layers that have been looked at since this was opened
	restUntil time.Time       // the engine isn't asked before, for what is here
}

type format struct {
	Version int   `json:"version"`
	Shift   Shift `json:"shift"`
}

// Open opens the store in dir, making it if there is none, and sweeps what
// interrupted pulls left.
func Open(dir string, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: dir, log: o.Log, shift: o.Shift, quota: o.Quota, from: o.Engine, stall: stallLimit, grace: justNow, sound: map[string]bool{}}
	for _, d := range []string{"layers", "images", "names", "holds", "blobs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make image store: %w", err)
		}
	}
	// Programs of images may be setuid: no other user of this machine gets at them.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make image store: %w", err)
	}
	if err := s.readFormat(); err != nil {
		return nil, err
	}
	if unlock, err := s.exclude(context.Background()); err == nil {
		s.sweep()
		unlock()
	}
	return s, nil
}

func (s *Store) readFormat() error {
	path := filepath.Join(s.dir, "format")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.write("format", format{formatVersion, s.shift})
	}
	var f format
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		return fmt.Errorf("the image store %s can't be read (%w); remove the directory once no backend uses it, images are pulled again", s.dir, err)
	}
	if f.Version != formatVersion {
		return fmt.Errorf("image store %s has version %d, this program knows %d; remove the directory, images are pulled again", s.dir, f.Version, formatVersion)
	}
	s.shift = f.Shift
	return nil
}

// Shift is how owners differ in this store.
func (s *Store) Shift() Shift { return s.shift }

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// write replaces a file of the store with v as JSON.
func (s *Store) write(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.path("tmp"), "file-*")
	if err != nil {
		return fmt.Errorf("write image store: %w", err)
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.path(name))
	}
	if err != nil {
		return fmt.Errorf("write image store: %w", err)
	}
	return nil
}

func (s *Store) read(name string, v any) error {
	b, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotThere
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("read image store: %w", err)
	}
	return nil
}

// errBusy: somebody who adds to the store, or removes from it, doesn't come to an end.
var errBusy = errors.New("the image store is in use by a process that doesn't go on; try again when it has ended")

// patience is how long the locks of the store are waited for. They are held for
// moments only; what takes longer is a work.
const patience = 5 * time.Second

// share keeps everything that is in the store from being removed. Whoever shares
// already may not share again: those who remove let nobody new in.
func (s *Store) share(ctx context.Context) (unlock func(), err error) {
	return s.enter(ctx, syscall.LOCK_SH)
}

// exclude is alone with the store.
func (s *Store) exclude(ctx context.Context) (unlock func(), err error) {
	return s.enter(ctx, syscall.LOCK_EX)
}

// enter locks the store, through a gate: who waits to be alone holds that, so
// that a stream of others can't keep it waiting.
func (s *Store) enter(ctx context.Context, how int) (unlock func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errBusy)
	defer cancel()
	open, err := s.flock(ctx, "gate", how)
	if err != nil {
		return nil, err
	}
	defer open()
	return s.flock(ctx, "lock", how)
}

func (s *Store) flock(ctx context.Context, name string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(s.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock image store: %w", err)
	}
	if err := wait(ctx, f, how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// wait locks f.
func wait(ctx context.Context, f *os.File, how int) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// discard takes one entry out of a directory, whole: what is killed meanwhile
// leaves nothing that looks like one. The directory that it gives is to be removed.
func (s *Store) discard(dir, name string) (gone string, err error) {
	gone, err = os.MkdirTemp(s.path("tmp"), "gone-*")
	if err != nil {
		return "", err
	}
	return gone, os.Rename(s.path(dir, name), filepath.Join(gone, name))
}
