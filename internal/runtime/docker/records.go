package docker

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// records are the images that were pulled from here, so that only these are
// ever removed. They are kept in a file.
type records struct {
	path string

	mu  sync.Mutex // guards all
	all map[string]time.Time
}

// openRecords reads what is kept. A file that can't be read means that nothing
// is removed.
func openRecords(dir string) *records {
	s := &records{path: filepath.Join(dir, "docker-images.json"), all: map[string]time.Time{}}
	if b, err := os.ReadFile(s.path); err == nil && json.Unmarshal(b, &s.all) != nil {
		s.all = map[string]time.Time{}
	}
	return s
}

// pulled notes an image by the name that it was pulled under.
func (s *records) pulled(image string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[image] = time.Now()
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

// idle lists those not asked for since then.
func (s *records) idle(since time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for image, at := range s.all {
		if at.Before(since) {
			all = append(all, image)
		}
	}
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
