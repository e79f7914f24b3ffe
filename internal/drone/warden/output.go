package warden

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// outputFile is how large a file of output gets before the next one is begun;
// two are kept.
const outputFile = 4 << 20

// output keeps the last output of a backend in files named after the offset of
// their first byte, so that a new warden goes on where the former ended.
type output struct {
	dir string

	mu      sync.Mutex // guards the fields below
	f       *os.File   // nil until the first byte
	base    int64      // offset of the first byte of f
	size    int64
	changed chan struct{} // closed by the next write; nil if nobody waits
}

type outputPart struct {
	base int64
	path string
}

// parts lists the files, oldest first.
func parts(dir string) []outputPart {
	entries, _ := os.ReadDir(dir)
	var all []outputPart
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			if base, err := strconv.ParseInt(name, 10, 64); err == nil {
				all = append(all, outputPart{base, filepath.Join(dir, e.Name())})
			}
		}
	}
	slices.SortFunc(all, func(a, b outputPart) int { return cmp.Compare(a.base, b.base) })
	return all
}

// Write keeps p. An error means that p is lost, on a full disk for example.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.readyLocked(); err != nil {
		return 0, err
	}
	n, err := o.f.Write(p)
	o.grownLocked(n)
	if err != nil {
		return n, fmt.Errorf("keep output: %w", err)
	}
	return n, nil
}

// take keeps what a pipe holds, at most 64 KiB. n = 0 without error is the end
// of the pipe. EAGAIN: there is nothing now. Other errors took nothing; reading
// and Write may still do.
func (o *output) take(pipe int) (n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.readyLocked(); err != nil {
		return 0, err
	}
	n, err = move(pipe, o.f, 64<<10)
	o.grownLocked(max(n, 0))
	return n, err
}

func (o *output) grownLocked(n int) {
	o.size += int64(n)
	if n > 0 && o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

func (o *output) readyLocked() error {
	if o.f == nil {
		if all := parts(o.dir); len(all) > 0 {
			o.base = all[len(all)-1].base
		}
		if err := o.openLocked(); err != nil {
			return err
		}
	}
	if o.size < outputFile {
		return nil
	}
	_ = o.f.Close()
	o.base += o.size
	if err := o.openLocked(); err != nil {
		return err
	}
	if all := parts(o.dir); len(all) > 2 {
		for _, p := range all[:len(all)-2] {
			_ = os.Remove(p.path)
		}
	}
	return nil
}

func (o *output) openLocked() error {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(o.dir, strconv.FormatInt(o.base, 10)+".log"), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	o.f = f
	o.size, err = f.Seek(0, io.SeekEnd) // not O_APPEND: nothing can be moved into such a file
	if err != nil {
		return fmt.Errorf("keep output: %w", err)
	}
	return nil
}

// close gives the file back. What was kept stays.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.f != nil {
		_ = o.f.Close()
		o.f = nil
	}
}

// wait returns a channel that is closed by the next write.
func (o *output) wait() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

// readOutput copies what is kept from offset on, or from the oldest byte if
// that is gone, and returns the offset after the last byte copied.
func readOutput(dir string, from int64, to io.Writer) (int64, error) {
	for _, p := range parts(dir) {
		f, err := os.Open(p.path)
		if err != nil {
			continue // removed meanwhile
		}
		from = max(from, p.base)
		n, err := io.Copy(to, io.NewSectionReader(f, from-p.base, 1<<62))
		_ = f.Close()
		from += n
		if err != nil {
			return from, fmt.Errorf("read output: %w", err)
		}
	}
	return from, nil
}

// tailOffset is where the last lines begin; lines = 0 means everything.
func tailOffset(dir string, lines int) int64 {
	all := parts(dir)
	if len(all) == 0 || lines <= 0 {
		return 0
	}
	first := true
	for _, p := range slices.Backward(all) {
		b, err := os.ReadFile(p.path)
		if err != nil {
			continue
		}
		end := len(b)
		if first && end > 0 && b[end-1] == '\n' {
			end-- // the last line's own end
		}
		first = first && len(b) == 0
		for i := bytes.LastIndexByte(b[:end], '\n'); i >= 0; i = bytes.LastIndexByte(b[:i], '\n') {
			if lines--; lines == 0 {
				return p.base + int64(i) + 1
			}
		}
	}
	return all[0].base
}

// lastLines is the end of the output as it is shown with an exit: at most 20
// lines and 4 KiB.
func lastLines(dir string) string {
	const most = 4 << 10
	var b bytes.Buffer
	_, _ = readOutput(dir, tailOffset(dir, 20), &b)
	s := b.Bytes()
	if len(s) > most {
		s = s[len(s)-most:]
	}
	return strings.ToValidUTF8(string(bytes.TrimRight(s, "\n")), "\uFFFD")
}
