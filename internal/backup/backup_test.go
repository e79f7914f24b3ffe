package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var someHead = Head{Version: "0.1.0", Schema: 2, Drone: "dr-abc", CreatedAt: time.Unix(1e9, 0).UTC()}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o640)); err != nil {
		t.Fatal(err)
	}
}

// write makes a backup of dir.
func write(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "it.plane")
	w, err := Create(path, Keep)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := errors.Join(w.Head(someHead), w.Tree(t.Context(), "volumes/v", dir), w.Finish()); err != nil {
		t.Fatal(err)
	}
	return path
}

func unpack(t *testing.T, in io.Reader) (string, Head, error) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	head, err := new(Reader).Unpack(t.Context(), in, root)
	return dir, head, err
}

func TestWhatIsBackedUpComesBack(t *testing.T) {
	dir := t.TempDir()
	texts := map[string]string{
		"a": "first", "deep/er/b": "second", "empty": "", "with space\nand line": "x", "not\xffutf8": "y",
		strings.Repeat("long", 60): "z", "big": strings.Repeat("0123456789", 1<<18),
	}
	for name, text := range texts {
		put(t, filepath.Join(dir, name), text)
	}
	if err := errors.Join(
		os.Symlink("../../../../elsewhere", filepath.Join(dir, "link")),
		os.Mkdir(filepath.Join(dir, "closed"), 0o700),
		os.WriteFile(filepath.Join(dir, "closed", "in"), nil, 0o400),
		os.Chmod(filepath.Join(dir, "closed"), 0o500),
	); err != nil {
		t.Fatal(err)
	}
	path := write(t, dir)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", st, err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to, head, err := unpack(t, f)
	if err != nil {
		t.Fatal(err)
	}
	want := someHead
	want.Format = Format
	if head != want {
		t.Errorf("head %+v", head)
	}
	for name, text := range texts {
		was, _ := os.Stat(filepath.Join(dir, name))
		at := filepath.Join(to, "volumes/v", name)
		if b, err := os.ReadFile(at); err != nil || string(b) != text {
			t.Errorf("%q: %d bytes, %v", name, len(b), err)
		}
		if is, err := os.Stat(at); err != nil || is.Mode() != was.Mode() || !is.ModTime().Equal(was.ModTime()) {
			t.Errorf("%q: %v, %v", name, is, err)
		}
	}
	if target, err := os.Readlink(filepath.Join(to, "volumes/v/link")); err != nil || target != "../../../../elsewhere" {
		t.Error(target, err)
	}
	if st, err := os.Stat(filepath.Join(to, "volumes/v/closed")); err != nil || st.Mode().Perm() != 0o500 {
		t.Error(st, err)
	}
	_ = os.Chmod(filepath.Join(to, "volumes/v/closed"), 0o700)
	_ = os.Chmod(filepath.Join(dir, "closed"), 0o700)
}

func TestADamagedBackupIsRefused(t *testing.T) {
	dir := t.TempDir()
	var text strings.Builder // without repetition, whose compressed form has many spellings
	for n := range 200 {
		fmt.Fprint(&text, n*n*n, " ")
	}
	put(t, filepath.Join(dir, "a"), text.String())
	put(t, filepath.Join(dir, "b"), "more")
	whole, err := os.ReadFile(write(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole); n += 11 {
		if _, _, err := unpack(t, bytes.NewReader(whole[:n])); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotBackup) {
			t.Fatalf("cut off after %d of %d bytes: %v", n, len(whole), err)
		}
	}
	for n := 10; n < len(whole); n += 7 { // before are time and system, which mean nothing
		broken := bytes.Clone(whole)
		broken[n] ^= 0x10
		to, _, err := unpack(t, bytes.NewReader(broken))
		if b, _ := os.ReadFile(filepath.Join(to, "volumes/v/a")); err == nil && string(b) != text.String() {
			t.Fatalf("byte %d of %d changed, and nobody minds", n, len(whole))
		}
	}
	if _, _, err := unpack(t, strings.NewReader("a letter")); !errors.Is(err, ErrNotBackup) {
		t.Errorf("a letter: %v", err)
	}
}

// forge changes the archive below the compression, as somebody would who opens
// it, changes a file and packs it again.
func forge(t *testing.T, whole []byte, change func(*tar.Header, []byte) []byte) *bytes.Buffer {
	t.Helper()
	gz, err := gzip.NewReader(bytes.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	out := new(bytes.Buffer)
	zw := gzip.NewWriter(out)
	r, w := tar.NewReader(gz), tar.NewWriter(zw)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		b, err2 := io.ReadAll(r)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if b = change(h, b); b == nil && h.Name == "" {
			continue
		}
		h.Size = int64(len(b))
		_, err2 = 0, w.WriteHeader(h)
		_, err = w.Write(b)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestATamperedBackupIsRefusedAndWritesNothingOutside(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a"), "some text")
	put(t, filepath.Join(dir, "b"), "more")
	whole, err := os.ReadFile(write(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(h *tar.Header, b []byte) []byte{
		"changed text": func(h *tar.Header, b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("some text"), []byte("same text"))
		},
		"a file less": func(h *tar.Header, b []byte) []byte {
			if h.Name == "volumes/v/b" {
				h.Name = ""
				return nil
			}
			return b
		},
		"another head": func(h *tar.Header, b []byte) []byte { return bytes.ReplaceAll(b, []byte("dr-abc"), []byte("dr-xyz")) },
		"no list": func(h *tar.Header, b []byte) []byte {
			if h.Name == listName {
				h.Name = "list"
			}
			return b
		},
		"a path that climbs": func(h *tar.Header, b []byte) []byte {
			if h.Name == "volumes/v/b" {
				h.Name = "../" + filepath.Base(outside) + "/b"
			}
			return b
		},
		"through a link": func(h *tar.Header, b []byte) []byte {
			switch h.Name {
			case "volumes/v/a":
				h.Name, h.Typeflag, h.Linkname = "volumes/out", tar.TypeSymlink, outside
				return nil
			case "volumes/v/b":
				h.Name = "volumes/out/b"
			}
			return b
		},
		"newer": func(h *tar.Header, b []byte) []byte {
			return bytes.ReplaceAll(b, []byte(`"format": 1`), []byte(`"format": 9`))
		},
	} {
		if _, _, err := unpack(t, forge(t, whole, change)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("written outside: %v", left)
	}
	if _, _, err := unpack(t, forge(t, whole, func(h *tar.Header, b []byte) []byte { return b })); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func TestAnExistingFileIsKeptUntilTheNewOneIsWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "it.plane")
	put(t, path, "older")
	if _, err := Create(path, Keep); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwrites: %v", err)
	}
	if _, err := Create(filepath.Dir(path), Overwrite); err == nil || !strings.Contains(err.Error(), "name a file in it") {
		t.Errorf("a directory: %v", err)
	}
	w, err := Create(path, Overwrite)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Head(someHead)
	w.Close()
	if b, _ := os.ReadFile(path); string(b) != "older" {
		t.Errorf("now %q", b)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// A program that appends to a log, folds it into a new file and begins another
// must be found in a state that it was in, with all that it had said before.
func TestATreeThatIsWrittenToIsCopiedWithAllThatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "folded"), "0\n")
	put(t, filepath.Join(dir, "log"), "")
	for i := range 100 { // between the two: copying takes longer than folding
		put(t, filepath.Join(dir, fmt.Sprint("g-", i)), "x")
	}
	var mu sync.Mutex // guards said
	said := 0
	stop := make(chan struct{})
	var program sync.WaitGroup
	program.Go(func() {
		log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_WRONLY, 0o600)
		for n := 1; err == nil; n++ {
			select {
			case <-stop:
				_ = log.Close()
				return
			default:
			}
			if _, err = fmt.Fprintln(log, n); err != nil {
				break
			}
			if n%5000 == 0 { // everything up to n is in folded; log begins anew
				_ = log.Close()
				put(t, filepath.Join(dir, "new"), fmt.Sprintln(n))
				_ = os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "folded"))
				log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_WRONLY|os.O_TRUNC, 0o600)
			}
			mu.Lock()
			said = n
			mu.Unlock()
		}
		t.Error(err)
	})
	defer program.Wait()
	defer close(stop)
	for range 4 {
		mu.Lock()
		before := said
		mu.Unlock()
		f, err := os.Open(write(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		to, _, err := unpack(t, f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		var has int
		b, err := os.ReadFile(filepath.Join(to, "volumes/v/folded"))
		if err == nil {
			_, err = fmt.Sscan(string(b), &has)
		}
		if err != nil {
			t.Fatal(err)
		}
		log, err := os.ReadFile(filepath.Join(to, "volumes/v/log"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			var n int
			if !strings.HasSuffix(line, "\n") {
				break // torn, as after a crash
			}
			if _, err := fmt.Sscan(line, &n); err != nil || n > has+1 {
				t.Fatalf("after %d the log says %q", has, line)
			}
			has = max(has, n)
		}
		if has < before {
			t.Errorf("%d of %d acknowledged lines are in the backup", has, before)
		}
	}
}

func TestBothEndWithTheirContext(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a"), "text")
	file := write(t, dir)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w, err := Create(filepath.Join(t.TempDir(), "it.plane"), Keep)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Tree(gone, "volumes/v", dir); !errors.Is(err, context.Canceled) {
		t.Errorf("write: %v", err)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := new(Reader).Unpack(gone, in, root); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("read: %v", err)
	}
}

// What a program puts in the place of a file between two looks must neither
// lead out of its directory nor keep the backup waiting.
func TestWhatIsNoFileAnyMoreIsntRead(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "secret"), "text")
	link, pipe, socket := filepath.Join(dir, "link"), filepath.Join(dir, "pipe"), filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(os.Symlink("secret", link), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	w, err := Create(filepath.Join(t.TempDir(), "it.plane"), Keep)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, path := range []string{link, pipe, socket, dir} {
		if err := w.File(t.Context(), "x", path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestTheUnfinishedFileFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "other"), "other's")
	path := filepath.Join(dir, "it.plane")
	if err := os.Symlink("other", path+".tmp"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w, err := Create(path, Overwrite)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if err := errors.Join(w.Head(someHead), w.Finish()); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "other")); string(b) != "other's" {
		t.Errorf("now %q", b)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
}
