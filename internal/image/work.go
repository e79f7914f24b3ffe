package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A work is one pull or import that is under way: a directory below tmp with
// what it unpacks, and in it a file that says what it needs of the store. That
// file is locked for as long as its process lives, so that what it needs stays
// and nothing has to wait for its end.
type work struct {
	s     *Store
	dir   string
	wants *os.File
}

const (
	workPrefix = "work-"
	wantsFile  = "wants"
)

// wanted is what is not to be removed.
type wanted struct {
	Images []string `json:"images"` // names of their files
	Layers []string `json:"layers"` // keys
}

// begin makes a work; end must be called.
func (s *Store) begin(ctx context.Context) (*work, error) {
	unlock, err := s.share(ctx) // a directory whose file isn't locked yet is nobody's
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir, err := os.MkdirTemp(s.path("tmp"), workPrefix)
	if err != nil {
		return nil, explainUnpack(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, wantsFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock image store: %w", err), os.RemoveAll(dir))
	}
	return &work{s, dir, f}, nil
}

// want keeps what it names in the store until end. It replaces what was wanted before.
func (w *work) want(ctx context.Context, what wanted) error {
	b, err := json.Marshal(what)
	if err != nil {
		return err
	}
	unlock, err := w.s.share(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := w.wants.Truncate(0); err != nil {
		return explainUnpack(err)
	}
	if _, err := w.wants.WriteAt(b, 0); err != nil {
		return explainUnpack(err)
	}
	return nil
}

// end removes what it has of its own.
func (w *work) end() {
	if err := os.RemoveAll(w.dir); err != nil {
		w.s.log.Warn("what a pull unpacked can't be removed", "error", err)
	}
	_ = w.wants.Close()
}

// alive reads what a work wants, if its process lives. The caller is alone with the store.
func (s *Store) alive(name string) (what wanted, ok bool) {
	if !strings.HasPrefix(name, workPrefix) {
		return what, false
	}
	f, err := os.Open(s.path("tmp", name, wantsFile))
	if err != nil {
		return what, false
	}
	defer f.Close()
	if !errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
		return what, false
	}
	_ = s.read(filepath.Join("tmp", name, wantsFile), &what) // empty: it hasn't said anything yet
	return what, true
}

// sweep removes what killed processes left. The caller is alone with the store.
func (s *Store) sweep() {
	entries, _ := os.ReadDir(s.path("tmp"))
	for _, e := range entries {
		if _, ok := s.alive(e.Name()); ok {
			continue
		}
		if err := os.RemoveAll(s.path("tmp", e.Name())); err != nil {
			s.log.Warn("what an interrupted pull left can't be removed", "error", err)
		}
	}
}
