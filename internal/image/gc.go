package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Size is how many bytes the unpacked layers have.
func (s *Store) Size() int64 {
	var sum int64
	entries, _ := os.ReadDir(s.path("layers"))
	for _, e := range entries {
		size, _ := s.has(e.Name())
		sum += size
	}
	return sum
}

// justNow is how long after a pull an image isn't removed, so that whoever asked for
// it can hold it. Uses are noted once a minute.
const justNow = 2 * time.Minute

// GC forgets the names unused for longer than age (0 = for no age), and beyond
// the quota those unused longest, never what is held or was asked for just now;
// then it removes what no name and no hold needs. It does nothing while somebody adds to the store.
func (s *Store) GC(age time.Duration) error {
	unlock, err := s.exclude()
	if errors.Is(err, errBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	s.dropPartials(partialLife)
	all, err := s.List()
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b Listed) int { return a.Used.Compare(b.Used) })
	if err := s.collect(); err != nil {
		return err
	}
	for _, l := range all {
		old := age > 0 && time.Since(l.Used) > age
		if len(l.Users) > 0 || time.Since(l.Used) < s.grace || !old && (s.quota == 0 || s.Size() <= s.quota) {
			continue
		}
		s.log.Info("removing an image that nobody uses", "image", l.Ref, "used", l.Used, "bytes", l.Size)
		if err := os.Remove(s.path("names", l.Ref.file())); err != nil {
			return fmt.Errorf("remove image: %w", err)
		}
		if err := s.collect(); err != nil {
			return err
		}
	}
	return nil
}

// collect removes images without name or hold, and layers without image. The
// caller is alone with the store.
func (s *Store) collect() error {
	wanted := map[string]bool{}
	for _, digest := range s.Holds() {
		wanted[fileOfDigest(digest)] = true
	}
	names, _ := os.ReadDir(s.path("names"))
	for _, e := range names {
		if n, ok := s.named(refOfFile(e.Name())); ok {
			wanted[fileOfDigest(n.Digest)] = true
		}
	}
	layers := map[string]bool{}
	images, _ := os.ReadDir(s.path("images"))
	var errs []error
	for _, e := range images {
		var r record
		if !wanted[e.Name()] || s.read(filepath.Join("images", e.Name()), &r) != nil {
			errs = append(errs, os.Remove(s.path("images", e.Name())))
			continue
		}
		for _, l := range r.Layers {
			layers[l] = true
		}
	}
	unpacked, _ := os.ReadDir(s.path("layers"))
	for _, e := range unpacked {
		if !layers[e.Name()] {
			errs = append(errs, s.discard("layers", e.Name()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove images: %w", err)
	}
	return nil
}
