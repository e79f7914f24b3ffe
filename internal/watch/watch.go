package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	settle  = 100 * time.Millisecond // without a change: then it is told
	atMost  = 2 * time.Second        // a change waits for others
	mostDir = 8192                   // directories that are watched
	again   = time.Second            // between looks for a directory that is gone
)

// Watch is what is watched. Paths are absolute.
type Watch struct {
	Dirs   []string // with all below, but for what Ignored says
	Files  []string // single ones, wherever they are, whatever their names
	Except []string // files and directories below Dirs that are left out

	// Changed is told what was written, made, renamed or removed, sorted, after
	// nothing has changed for 100 ms or something has for 2 s. Nothing is lost
	// while it runs.
	Changed func(ctx context.Context, paths []string)

	fs   *fsnotify.Watcher
	gone map[string]bool // roots to be looked for again
}

// New begins to watch: changes from now on are told once Run runs. Its errors
// are sentences for people.
func New(w Watch) (*Watch, error) {
	fsw, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("files can't be watched here: %w", err)
	}
	w.fs, w.gone = fsw, map[string]bool{}
	for _, dir := range w.Dirs {
		st, err := os.Stat(dir)
		if err == nil && !st.IsDir() {
			err = syscall.ENOTDIR
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s can't be watched: %w", dir, err), fsw.Close())
		}
	}
	if err := w.addAll(); err != nil {
		return nil, errors.Join(err, fsw.Close())
	}
	return &w, nil
}

func (w *Watch) addAll() error {
	for _, dir := range w.Dirs {
		if err := w.addTree(dir); err != nil {
			return err
		}
	}
	for _, file := range w.Files {
		if err := w.add(filepath.Dir(file)); err != nil {
			return err
		}
	}
	return nil
}

// addTree watches a directory and those below.
func (w *Watch) addTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == dir:
			return nil // gone again, or not to be read: its parent tells of changes
		case err != nil, !d.IsDir():
			return nil
		case w.leftOut(path):
			return filepath.SkipDir
		}
		return w.add(path)
	})
}

func (w *Watch) add(dir string) error {
	if len(w.fs.WatchList()) >= mostDir {
		return fmt.Errorf("there are more than %d directories to watch; name smaller ones", mostDir)
	}
	err := w.fs.Add(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // gone again
	case errors.Is(err, syscall.ENOSPC):
		return errors.New("the system watches no more directories for this user; raise fs.inotify.max_user_watches, or name smaller ones")
	case err != nil:
		return fmt.Errorf("%s can't be watched: %w", dir, err)
	}
	return nil
}

// leftOut reports whether changes of path are nobody's business.
func (w *Watch) leftOut(path string) bool {
	if slices.Contains(w.Files, path) {
		return false
	}
	if slices.ContainsFunc(w.Except, func(x string) bool { return below(x, path) }) {
		return true
	}
	for _, dir := range w.Dirs {
		if below(dir, path) {
			rel, err := filepath.Rel(dir, path)
			return err != nil || Ignored(rel)
		}
	}
	return true
}

// below reports whether path is dir or in it.
func below(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, string(filepath.Separator))+string(filepath.Separator))
}

// Run tells changes until ctx is done.
func (w *Watch) Run(ctx context.Context) error {
	defer w.fs.Close()
	changed := map[string]bool{}
	var quiet, late <-chan time.Time
	look := time.NewTicker(again)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.fs.Events:
			if !ok {
				return errors.New("the system stopped telling of changes")
			}
			if !w.take(e) {
				continue
			}
			changed[e.Name] = true
			quiet = time.After(settle)
			if late == nil {
				late = time.After(atMost)
			}
			continue
		case <-w.fs.Errors: // too many at once: something changed, and directories may be new
			_ = w.addAll() // more than can be watched: what is in it isn't
			for _, path := range slices.Concat(w.Dirs, w.Files) {
				changed[path] = true
			}
			quiet = time.After(settle)
			if late == nil {
				late = time.After(atMost)
			}
			continue
		case <-look.C:
			back := w.lookAgain()
			if len(back) == 0 {
				continue
			}
			for _, path := range back {
				changed[path] = true
			}
			quiet = time.After(settle)
			continue
		case <-quiet:
		case <-late:
		}
		paths := slices.Sorted(maps.Keys(changed))
		clear(changed)
		quiet, late = nil, nil
		w.Changed(ctx, paths)
	}
}

// take follows directories, and reports whether the change is to be told.
func (w *Watch) take(e fsnotify.Event) bool {
	if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		w.miss(e.Name)
	}
	if e.Op == fsnotify.Chmod || w.leftOut(e.Name) {
		return false
	}
	if e.Has(fsnotify.Create) {
		if st, err := os.Lstat(e.Name); err == nil && st.IsDir() {
			_ = w.addTree(e.Name) // more than can be watched: what is in it isn't
		}
	}
	return true
}

// miss notes that a directory must be looked for.
func (w *Watch) miss(path string) {
	for _, dir := range w.Dirs {
		if dir == path {
			w.gone[dir] = true
		}
	}
	for _, file := range w.Files {
		if dir := filepath.Dir(file); dir == path {
			w.gone[dir] = true
		}
	}
}

// lookAgain watches what is there again. It gives what may have changed before.
func (w *Watch) lookAgain() (changed []string) {
	for dir := range w.gone {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		delete(w.gone, dir)
		_ = w.addAll()
		for _, path := range append(slices.Clone(w.Dirs), w.Files...) {
			if path == dir || filepath.Dir(path) == dir && !w.leftOut(path) {
				changed = append(changed, path)
			}
		}
	}
	return changed
}
