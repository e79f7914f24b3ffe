package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func (s *Store) named(ref Ref) (naming, bool) {
	var n naming
	err := s.read(filepath.Join("names", ref.file()), &n)
	return n, err == nil
}

// name gives a name its meaning. The caller shares the store.
func (s *Store) name(ref Ref, n naming) error {
	n.Used = time.Now()
	return s.write(filepath.Join("names", ref.file()), n)
}

// nameNew gives a name to what was pulled or imported. What the local engine has
// of that name now is no news later.
func (s *Store) nameNew(ctx context.Context, ref Ref, img *Image) error {
	id, _ := s.engineID(ctx, ref, true)
	return s.rename(ctx, ref, naming{Digest: img.Digest, Engine: id, Pulled: time.Now()})
}

func (s *Store) rename(ctx context.Context, ref Ref, n naming) error {
	unlock, err := s.share(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return s.name(ref, n)
}

// use gives what a name means if that is here, and notes that it was used.
func (s *Store) use(ctx context.Context, ref Ref) (*Image, bool, error) {
	unlock, err := s.share(ctx)
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	n, ok := s.named(ref)
	if !ok {
		return nil, false, nil
	}
	r, err := s.known(n.Digest)
	if err != nil { // damaged, or gone: it is fetched again
		return nil, false, nil
	}
	s.touch(ref, n)
	return s.image(r), true, nil
}

// touch notes that a name was used, at most once a minute. The caller shares the store.
func (s *Store) touch(ref Ref, n naming) {
	if time.Since(n.Used) < time.Minute {
		return
	}
	if err := s.name(ref, n); err != nil {
		s.log.Warn("the use of an image isn't noted", "image", ref, "error", err)
	}
}

// Listed is a name in the store.
type Listed struct {
	Ref    Ref       `json:"image"`
	Digest string    `json:"digest"`
	Size   int64     `json:"size_bytes"` // unpacked; layers may be shared
	Pulled time.Time `json:"pulled"`
	Used   time.Time `json:"used"`
	Engine bool      `json:"from_engine,omitempty"`
	Users  []string  `json:"users,omitempty"` // holds
}

// List lists all names, by name.
func (s *Store) List() ([]Listed, error) {
	entries, err := os.ReadDir(s.path("names"))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	holds := s.Holds()
	var all []Listed
	for _, e := range entries {
		ref := refOfFile(e.Name())
		n, ok := s.named(ref)
		if !ok {
			continue
		}
		l := Listed{Ref: ref, Digest: n.Digest, Pulled: n.Pulled, Used: n.Used, Engine: n.From == fromTheEngine}
		if r, err := s.known(n.Digest); err == nil {
			l.Size = r.Size
		}
		for user, digest := range holds {
			if digest == n.Digest {
				l.Users = append(l.Users, user)
			}
		}
		slices.Sort(l.Users)
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Listed) int { return strings.Compare(string(a.Ref), string(b.Ref)) })
	return all, nil
}

// Remove forgets a name, and what nothing else needs. It refuses what a backend
// uses, naming that. ErrNotThere.
func (s *Store) Remove(ctx context.Context, ref Ref) error {
	return s.alone(ctx, func() ([]string, error) {
		n, ok := s.named(ref)
		if !ok {
			return nil, fmt.Errorf("%w: %s; plane image ls lists those that are here", ErrNotThere, ref.Short())
		}
		for user, digest := range s.Holds() {
			if digest == n.Digest && s.meanings(digest) == 1 {
				return nil, fmt.Errorf("image %s is in use by %s; stop that first", ref.Short(), user)
			}
		}
		if err := os.Remove(s.path("names", ref.file())); err != nil {
			return nil, fmt.Errorf("remove image: %w", err)
		}
		return s.collect()
	})
}

// meanings counts the names of an image.
func (s *Store) meanings(digest string) int {
	count := 0
	entries, _ := os.ReadDir(s.path("names"))
	for _, e := range entries {
		if n, ok := s.named(refOfFile(e.Name())); ok && n.Digest == digest {
			count++
		}
	}
	return count
}
