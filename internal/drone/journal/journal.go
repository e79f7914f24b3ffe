// Package journal is what an agent remembers on its disk: a log of lines, each
// with a checksum, that folds into records by kind and key. A record survives
// the death of the process once Apply has returned, and a power cut once Sync
// has; a torn or damaged line is as if it had never been written.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// Compaction: the log is rewritten when it is larger than minCompact and more
// than compactRatio times what is alive in it.
const (
	minCompact   = 1 << 20
	compactRatio = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Kind groups records.
type Kind string

// Change puts a record, or deletes it if Value is nil.
type Change struct {
	Kind  Kind
	Key   string
	Value any
}

type ref struct {
	kind Kind
	key  string
}

type line struct {
	Kind  Kind            `json:"k"`
	Key   string          `json:"i,omitempty"`
	Value json.RawMessage `json:"v,omitempty"`
}

// Journal is one open log. Its methods may be called at once.
type Journal struct {
	path string

	mu    sync.Mutex // guards the fields below
	file  *os.File
	alive map[ref]json.RawMessage
	size  int64 // of the file
	live  int64 // bytes of alive, about
	torn  bool  // the last write failed: the file may end within a line
}

// Open reads the log at path, or begins one, and rewrites it if parts of it
// were damaged. Only one process may have it open.
func Open(path string) (*Journal, error) {
	j := &Journal{path: path, alive: map[ref]json.RawMessage{}}
	damaged, err := j.read()
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if damaged || j.file == nil {
		if err := j.compactLocked(); err != nil {
			return nil, err
		}
	}
	return j, nil
}

func (j *Journal) read() (damaged bool, err error) {
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_APPEND, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		b, err := r.ReadBytes('\n')
		j.size += int64(len(b))
		if len(b) > 0 {
			if l, ok := parse(b); ok {
				j.fold(l)
			} else {
				damaged = true
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			_ = f.Close()
			return false, err
		}
	}
	j.file = f
	return damaged, nil
}

func parse(b []byte) (line, bool) {
	var l line
	b, ended := bytes.CutSuffix(b, []byte("\n"))
	sum, body, ok := bytes.Cut(b, []byte(" "))
	if !ended || !ok {
		return l, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(body, castagnoli) {
		return l, false
	}
	return l, json.Unmarshal(body, &l) == nil
}

func appendLine(out []byte, l line) ([]byte, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return out, err
	}
	out = fmt.Appendf(out, "%08x ", crc32.Checksum(body, castagnoli))
	out = append(out, body...)
	return append(out, '\n'), nil
}

func (j *Journal) fold(l line) {
	r := ref{l.Kind, l.Key}
	j.live -= j.weight(r)
	if l.Value == nil {
		delete(j.alive, r)
		return
	}
	j.alive[r] = l.Value
	j.live += j.weight(r)
}

func (j *Journal) weight(r ref) int64 {
	v, ok := j.alive[r]
	if !ok {
		return 0
	}
	return int64(len(r.kind) + len(r.key) + len(v) + 32)
}

// Apply writes changes, in one write. On an error they hold for this process
// all the same, and the next Apply tries to bring them to the disk.
func (j *Journal) Apply(changes ...Change) error {
	var out []byte
	lines := make([]line, 0, len(changes))
	for _, c := range changes {
		l := line{Kind: c.Kind, Key: c.Key}
		if c.Value != nil {
			v, err := json.Marshal(c.Value)
			if err != nil {
				return fmt.Errorf("encode %s: %w", c.Kind, err)
			}
			l.Value = v
		}
		var err error
		if out, err = appendLine(out, l); err != nil {
			return fmt.Errorf("encode %s: %w", c.Kind, err)
		}
		lines = append(lines, l)
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range lines {
		j.fold(l)
	}
	if j.file == nil {
		return fmt.Errorf("write journal: %w", os.ErrClosed)
	}
	if j.torn || j.size > minCompact && j.size > compactRatio*j.live {
		return j.compactLocked()
	}
	n, err := j.file.Write(out)
	j.size += int64(n)
	if err != nil {
		j.torn = true
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// Put is Apply of one record.
func (j *Journal) Put(kind Kind, key string, value any) error {
	return j.Apply(Change{kind, key, value})
}

// Delete removes a record; one that isn't there is no error.
func (j *Journal) Delete(kind Kind, key string) error {
	return j.Apply(Change{Kind: kind, Key: key})
}

// Sync makes everything applied so far survive a power cut.
func (j *Journal) Sync() error {
	j.mu.Lock()
	f, torn := j.file, j.torn
	if torn && f != nil {
		defer j.mu.Unlock()
		return j.compactLocked()
	}
	j.mu.Unlock()
	if f == nil {
		return fmt.Errorf("sync journal: %w", os.ErrClosed)
	}
	// Outside the lock, so that appends needn't wait for the disk. A
	// compaction meanwhile has synced the new file and closed this one.
	if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("sync journal: %w", err)
	}
	return nil
}

// Close closes the log without syncing it.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}

// compactLocked replaces the log by one with only what is alive.
func (j *Journal) compactLocked() error {
	refs := make([]ref, 0, len(j.alive))
	for r := range j.alive {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, func(a, b ref) int {
		return bytes.Compare([]byte(a.kind+"\x00"+Kind(a.key)), []byte(b.kind+"\x00"+Kind(b.key)))
	})
	var out []byte
	for _, r := range refs {
		var err error
		if out, err = appendLine(out, line{r.kind, r.key, j.alive[r]}); err != nil {
			return fmt.Errorf("compact journal: %w", err)
		}
	}
	f, err := replace(j.path, out)
	if err != nil {
		return fmt.Errorf("compact journal: %w", err)
	}
	if j.file != nil {
		_ = j.file.Close()
	}
	j.file, j.size, j.torn = f, int64(len(out)), false
	return nil
}

// replace writes content beside path and moves it there, so that whoever opens
// path sees the old or the new file, whole, also after a power cut.
func replace(path string, content []byte) (*os.File, error) {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(tmp)
		return nil, err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return f, nil
}

// All gives the records of a kind by key. A record that isn't a T is an error.
func All[T any](j *Journal, kind Kind) (map[string]T, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := map[string]T{}
	for r, raw := range j.alive {
		if r.kind != kind {
			continue
		}
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("decode %s %s: %w", kind, r.key, err)
		}
		out[r.key] = v
	}
	return out, nil
}
