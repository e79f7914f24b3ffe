package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Hold keeps an image from being removed until Release of that user, also when
// this process has ended. User is a name of letters, digits and '-'.
func (s *Store) Hold(ctx context.Context, user, digest string) error {
	if user == "" || strings.ContainsAny(user, "/.") {
		return fmt.Errorf("hold image: %q is no name of a user", user)
	}
	unlock, err := s.share(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.known(digest); err != nil {
		return fmt.Errorf("hold image: %w", err)
	}
	return s.write(filepath.Join("holds", user), digest)
}

// Release ends a hold; one that isn't there is none.
func (s *Store) Release(user string) error {
	err := os.Remove(s.path("holds", user))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release image: %w", err)
	}
	return nil
}

// Holds are the digests that are held, by user; "" where that can't be read.
func (s *Store) Holds() map[string]string {
	all := map[string]string{}
	entries, _ := os.ReadDir(s.path("holds"))
	for _, e := range entries {
		var digest string
		if err := s.read(filepath.Join("holds", e.Name()), &digest); errors.Is(err, ErrNotThere) {
			continue // it was released just now
		} else if err != nil {
			digest = ""
		}
		all[e.Name()] = digest
	}
	return all
}

// Image gives one that is here by its digest. ErrNotThere.
func (s *Store) Image(digest string) (*Image, error) {
	r, err := s.known(digest)
	if err != nil {
		return nil, err
	}
	return s.image(r), nil
}
