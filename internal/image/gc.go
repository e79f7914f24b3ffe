package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Size is how many bytes the unpacked layers have.
func (s *Store) Size() int64 {
	var sum int64
	entries, _ := os.ReadDir(s.path("layers"))
	for _, e := range entries {
		info, _ := s.info(e.Name())
		sum += info.Size
	}
	return sum
}

// justNow is how long after a pull an image isn't removed, so that whoever asked for
// it can hold it. Uses are noted once a minute.
const justNow = 2 * time.Minute

// GC forgets the names unused for longer than age (0 = for no age), and beyond
// the quota those unused longest, never what is held or was asked for just now;
// then it removes what no name, no hold and no pull under way needs.
func (s *Store) GC(ctx context.Context, age time.Duration) error { return s.clear(ctx, age, 0) }

// clear is GC, until need bytes more have place below the quota.
func (s *Store) clear(ctx context.Context, age time.Duration, need int64) error {
	return s.alone(ctx, func() (gone []string, err error) {
		s.sweep()
		s.dropPartials(partialLife)
		if gone, err = s.collect(); err != nil {
			return gone, err
		}
		more, err := s.forget(age, need)
		return append(gone, more...), err
	})
}

// alone runs f alone with the store, then removes the directories that f gives.
func (s *Store) alone(ctx context.Context, f func() (gone []string, err error)) error {
	unlock, err := s.exclude(ctx)
	if err != nil {
		return err
	}
	gone, err := f()
	unlock()
	for _, dir := range gone { // nobody else wants them any more
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// forget forgets names, those unused longest first.
func (s *Store) forget(age time.Duration, need int64) (gone []string, err error) {
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Listed) int { return a.Used.Compare(b.Used) })
	for _, l := range all {
		old := age > 0 && time.Since(l.Used) > age
		if len(l.Users) > 0 || time.Since(l.Used) < s.grace || !old && (s.quota == 0 || s.Size()+need <= s.quota) {
			continue
		}
		s.log.Info("removing an image that nobody uses", "image", l.Ref, "used", l.Used, "bytes", l.Size)
		if err := os.Remove(s.path("names", l.Ref.file())); err != nil {
			return gone, fmt.Errorf("remove image: %w", err)
		}
		more, err := s.collect()
		gone = append(gone, more...)
		if err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// collect removes images without name, hold or pull, and layers without image. The
// caller is alone with the store, and removes the directories that it gives.
func (s *Store) collect() (gone []string, err error) {
	k, err := s.kept()
	if err != nil {
		return nil, err
	}
	var errs []error
	images, _ := os.ReadDir(s.path("images"))
	for _, e := range images {
		if !k.images[e.Name()] {
			errs = append(errs, os.Remove(s.path("images", e.Name())))
		}
	}
	unpacked, _ := os.ReadDir(s.path("layers"))
	for _, e := range unpacked {
		key, _, damaged := strings.Cut(e.Name(), damagedSuffix)
		if damaged && k.held[key] || !damaged && k.layers[key] {
			continue
		}
		dir, err := s.discard("layers", e.Name())
		errs = append(errs, err)
		if dir != "" {
			gone = append(gone, dir)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return gone, fmt.Errorf("remove images: %w", err)
	}
	return gone, nil
}

// kept is what is needed of a store.
type kept struct {
	images map[string]bool // names of their files
	layers map[string]bool // keys
	held   map[string]bool // keys of layers that backends may have mounted
}

// kept finds out what is needed. Where it can't be known what a backend uses,
// that is an error: nothing may be removed then.
func (s *Store) kept() (kept, error) {
	k := kept{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	held := map[string]bool{}
	for user, digest := range s.Holds() {
		if digest == "" {
			return k, fmt.Errorf("remove images: which one %s uses can't be read; nothing is removed until it has ended", user)
		}
		held[fileOfDigest(digest)], k.images[fileOfDigest(digest)] = true, true
	}
	works, _ := os.ReadDir(s.path("tmp"))
	for _, e := range works {
		w, _ := s.alive(e.Name())
		for _, name := range w.Images {
			k.images[name] = true
		}
		for _, key := range w.Layers {
			k.layers[key] = true
		}
	}
	names, _ := os.ReadDir(s.path("names"))
	for _, e := range names {
		if n, ok := s.named(refOfFile(e.Name())); ok {
			k.images[fileOfDigest(n.Digest)] = true
		}
	}
	for name := range k.images {
		var r record
		err := s.read(filepath.Join("images", name), &r)
		if err != nil && held[name] {
			return k, fmt.Errorf("remove images: %w; a backend uses that image, nothing is removed until it has ended or the image is pulled again", err)
		}
		for _, key := range r.Layers {
			k.layers[key] = true
			k.held[key] = k.held[key] || held[name]
		}
	}
	return k, nil
}
