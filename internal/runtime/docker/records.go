package docker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// records are the images that were pulled from here and weren't there before, so
// that only these are ever removed. They are kept in a file.
type records struct {
	path string

	mu  sync.Mutex           // guards all
	all map[string]time.Time // by the name they were pulled under, or their id once it means another
}

// idleImage is one of them that nobody has asked for since.
type idleImage struct {
	name string
	at   time.Time
}

// untagged reports whether its name came to mean another image. Whoever has given
// it a name since wants to keep it.
func (i idleImage) untagged() bool { return strings.HasPrefix(i.name, "sha256:") }

// openRecords reads what is kept. A file that can't be read means that nothing
// is removed.
func openRecords(dir string) *records {
	s := &records{path: filepath.Join(dir, "docker-images.json"), all: map[string]time.Time{}}
	if b, err := os.ReadFile(s.path); err == nil && json.Unmarshal(b, &s.all) != nil {
		s.all = map[string]time.Time{}
	}
	return s
}

// pulled notes that an image was pulled. before and after are the ids that its
// name meant; before is "" if it wasn't there. One that was there and isn't of
// ours stays somebody else's, whatever it is by now.
func (s *records) pulled(image, before, after string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ours := s.all[image]; !ours && before != "" {
		return
	}
	s.all[image] = time.Now()
	if before != "" && before != after {
		s.all[before] = time.Now()
	}
	s.saveLocked()
}

// used notes that an image of ours was asked for.
func (s *records) used(image string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.all[image]; ok && time.Since(at) > time.Minute {
		s.all[image] = time.Now()
		s.saveLocked()
	}
}

// idle lists those not asked for since then, the longest idle first.
func (s *records) idle(since time.Time) []idleImage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []idleImage
	for name, at := range s.all {
		if at.Before(since) {
			all = append(all, idleImage{name, at})
		}
	}
	slices.SortFunc(all, func(a, b idleImage) int { return a.at.Compare(b.at) })
	return all
}

func (s *records) drop(image string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, image)
	s.saveLocked()
}

func (s *records) saveLocked() {
	b, err := json.Marshal(s.all)
	if err != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), ".docker-images-")
	if err != nil {
		return // then they are pulled by nobody, and stay
	}
	_, err = f.Write(b)
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}
