package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"plane"
	"plane/internal/planefile"
	"plane/internal/watch"
)

const (
	restless = 3 * time.Second // changes this close after a replacement may be its effect
	patience = 5               // so many such changes in a row are
)

// devWatch replaces backends when the files of their apps change.
type devWatch struct {
	dev
	wd   string
	dirs []string
	file string // plane.yaml, "" = none

	last  time.Time // of the last replacement
	close int       // changes that came soon after one, in a row
}

// newDevWatch watches the directories of --watch, programs that were given by
// their paths, and plane.yaml.
func newDevWatch(d dev, dirs []string, wd string) (*watch.Watch, error) {
	w := &devWatch{dev: d, wd: wd}
	for _, dir := range dirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		if abs, err = filepath.EvalSymlinks(abs); err != nil {
			return nil, fmt.Errorf("--watch %s: there is no such directory; name one that exists", dir)
		}
		w.dirs = append(w.dirs, abs)
	}
	var files []string
	f := d.apps.current()
	if f.Path != "" {
		abs, err := filepath.Abs(f.Path)
		if err != nil {
			return nil, err
		}
		w.file = abs
		files = append(files, abs)
	}
	for _, name := range f.Names() {
		if p := programOf(f.Apps[name]); p != "" {
			files = append(files, p)
		}
	}
	x, err := watch.New(watch.Watch{Dirs: w.dirs, Files: files, Except: []string{d.dir}, Changed: w.changed})
	if err != nil {
		return nil, fmt.Errorf("--watch: %w", err)
	}
	return x, nil
}

// programOf is the file of an app's program, if it isn't one of the system's.
func programOf(t plane.Template) string {
	if len(t.Command) == 0 || !filepath.IsAbs(t.Command[0]) {
		return ""
	}
	for _, dir := range []string{"/bin", "/sbin", "/usr", "/opt", "/nix"} {
		if strings.HasPrefix(t.Command[0], dir+"/") {
			return ""
		}
	}
	return t.Command[0]
}

// changed is told what changed.
func (w *devWatch) changed(ctx context.Context, paths []string) {
	if w.file != "" && slices.Contains(paths, w.file) {
		w.reread(ctx)
		paths = slices.DeleteFunc(paths, func(p string) bool { return p == w.file })
	}
	if len(paths) == 0 || !w.settled(ctx, paths) {
		return
	}
	replaced := 0
	for _, app := range affected(w.apps.current().Apps, paths) {
		n, err := w.controller.Replace(ctx, operator, app)
		if err != nil {
			w.show.warn(sentence(err))
		}
		if n > 0 {
			replaced += n
			w.last = time.Now()
			w.show.changed(change{App: app, Path: w.relative(paths[0]), Replaced: n, Text: w.tell(paths, app, n)})
		}
	}
	if replaced == 0 {
		w.show.changed(change{Path: w.relative(paths[0]), Text: w.tell(paths, "", 0)})
	}
}

// settled reports whether a change is to be followed: one that comes right
// after each replacement is likely the new backend's own writing.
func (w *devWatch) settled(ctx context.Context, paths []string) bool {
	if w.last.IsZero() || time.Since(w.last) > restless {
		w.close = 0
		return true
	}
	w.close++
	if w.close < patience {
		return true
	}
	if w.close == patience {
		w.show.warn(fmt.Sprintf("%s changes again and again; if the program writes it, watch a smaller directory. Changes are followed again once it has been quiet for %d s.",
			w.relative(paths[0]), int(restless.Seconds())))
	}
	w.last = time.Now()
	return false
}

// affected are the apps whose programs, or whose directories, have changes in
// them; all apps, if a changed file belongs to none.
func affected(apps map[string]plane.Template, paths []string) []string {
	hit := map[string]bool{}
	for _, path := range paths {
		owned := false
		for name, t := range apps {
			if path == programOf(t) || t.Dir != "" && within(t.Dir, path) {
				hit[name], owned = true, true
			}
		}
		if !owned {
			for name := range apps {
				hit[name] = true
			}
		}
	}
	var all []string
	for name := range hit {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// within reports whether path is dir or below it, whatever links lead there.
func within(dir, path string) bool {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (w *devWatch) relative(path string) string {
	if within(w.wd, path) {
		if rel, err := filepath.Rel(w.wd, path); err == nil {
			return rel
		}
	}
	return path
}

func (w *devWatch) tell(paths []string, app string, n int) string {
	what := w.relative(paths[0])
	if more := len(paths) - 1; more > 0 {
		what += fmt.Sprintf(" and %d more", more)
	}
	of := ""
	if app != "" {
		of = " of " + app
	}
	if n == 0 {
		return what + " changed; nothing runs"
	}
	return fmt.Sprintf("%s changed: %s%s replaced", what, plural(n, "backend"), of)
}

// reread applies what plane.yaml says now. A broken one changes nothing.
func (w *devWatch) reread(ctx context.Context) {
	now, err := planefile.Read(w.file)
	if err == nil {
		err = findPrograms(now)
	}
	if err != nil {
		w.show.warn(sentence(err) + " The apps stay as they were.")
		return
	}
	was := w.apps.current()
	w.apps.mu.Lock()
	w.apps.file = now
	w.apps.mu.Unlock()
	for _, name := range now.Names() {
		done, err := w.apps.applyOne(ctx, w.controller, w.show, now, name)
		if err != nil {
			w.show.warn(sentence(err))
			continue
		}
		if !done.Changed {
			continue
		}
		w.show.changed(change{App: name, Path: w.relative(w.file), Text: fmt.Sprintf("%s changed: app %s is at release %d", w.relative(w.file), name, done.Release)})
		if err := w.replaceOldOf(ctx, name, "its app has a new release"); err != nil && !errors.Is(err, context.Canceled) {
			w.show.warn(sentence(err))
		}
	}
	for name := range was.Apps {
		if _, ok := now.Apps[name]; !ok {
			w.controller.Withdraw(name)
		}
	}
	if err := w.endUnserved(ctx); err != nil && !errors.Is(err, context.Canceled) {
		w.show.warn(sentence(err))
	}
	if now.Default != was.Default {
		w.show.warn(fmt.Sprintf("Start `plane dev` again for what else changed in %s: the default app was %q and is %q.", w.relative(w.file), was.Default, now.Default))
	}
}
