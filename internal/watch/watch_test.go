package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestWhatIsIgnored(t *testing.T) {
	for path, want := range map[string]bool{
		"main.go": false, "sub/dir/page.html": false, ".": false, "a.b": false, "tmp/x": false,
		".git/HEAD": true, ".env": true, "sub/.idea/x": true, "node_modules/a/b.js": true, "x/__pycache__/y": true,
		"main.go~": true, "#main.go#": true, ".#main.go": true, ".main.go.swp": true, "4913": true,
		"page.html.tmp": true, "page.html.tmp.123": true, "x.pyc": true,
	} {
		if got := Ignored(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// begin watches and gives what is told.
func begin(t *testing.T, w Watch) <-chan []string {
	t.Helper()
	told := make(chan []string, 100)
	w.Changed = func(_ context.Context, paths []string) { told <- paths }
	x, err := New(w)
	if err != nil {
		t.Fatal(err)
	}
	run(t, x)
	return told
}

func run(t *testing.T, x *Watch) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func expect(t *testing.T, told <-chan []string, path string) {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case paths := <-told:
			if slices.Contains(paths, path) {
				return
			}
		case <-deadline:
			t.Fatalf("no word of %s", path)
		}
	}
}

func put(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(time.Now().String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestChangesAreToldTogetherAndDirectoriesAreFollowed(t *testing.T) {
	root := t.TempDir()
	at := func(names ...string) string { return filepath.Join(append([]string{root}, names...)...) }
	if err := os.MkdirAll(at("node_modules", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	told := begin(t, Watch{Dirs: []string{root}, Except: []string{at("data")}})
	for i := range 20 {
		put(t, at(fmt.Sprint("many-", i)))
	}
	expect(t, told, at("many-19"))
	if len(told) > 2 {
		t.Errorf("twenty files at once were told %d times", len(told)+1)
	}
	if err := os.MkdirAll(at("new", "deeper"), 0o700); err != nil {
		t.Fatal(err)
	}
	expect(t, told, at("new"))
	put(t, at("new", "deeper", "file"))
	expect(t, told, at("new", "deeper", "file"))
	put(t, at("page.tmp"))
	if err := os.Rename(at("page.tmp"), at("page")); err != nil { // as editors save
		t.Fatal(err)
	}
	expect(t, told, at("page"))
	if err := os.Remove(at("page")); err != nil {
		t.Fatal(err)
	}
	expect(t, told, at("page"))

	if err := os.Mkdir(at("data"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{at("data", "log"), at("node_modules", "x", "y"), at(".hidden"), at("x.swp")} {
		put(t, name)
	}
	put(t, at("last"))
	for deadline := time.After(20 * time.Second); ; {
		select {
		case paths := <-told:
			for _, p := range paths {
				if p != at("last") {
					t.Errorf("told of %s", p)
				}
			}
			if slices.Contains(paths, at("last")) {
				return
			}
		case <-deadline:
			t.Fatal("no word of the last one")
		}
	}
}

func TestASingleFileIsFollowedThroughReplacement(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, ".bin", "server")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, file)
	told := begin(t, Watch{Files: []string{file}})
	for range 3 { // as a compiler does
		put(t, file+".new")
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		expect(t, told, file)
	}
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	expect(t, told, file)
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, file) // before it is watched again
	expect(t, told, file)
}

func TestWhatCantBeWatchedIsSaid(t *testing.T) {
	if _, err := New(Watch{Dirs: []string{filepath.Join(t.TempDir(), "none")}}); err == nil {
		t.Error("nothing is watched, and nobody says so")
	}
}

func TestAfterTooManyChangesAtOnceNewDirectoriesAreFollowedToo(t *testing.T) {
	root := t.TempDir()
	told := make(chan []string, 100)
	x, err := New(Watch{Dirs: []string{root}, Changed: func(_ context.Context, paths []string) { told <- paths }})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.fs.Remove(root); err != nil { // the system drops what it would tell of it
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "new", "deeper"), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, x)
	x.fs.Errors <- fsnotify.ErrEventOverflow
	expect(t, told, root)
	file := filepath.Join(root, "new", "deeper", "file")
	put(t, file)
	expect(t, told, file)
}
