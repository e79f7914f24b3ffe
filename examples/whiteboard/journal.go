package whiteboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Names in the data directory. The drawing is the snapshot and after it the
// ops of the log with higher numbers.
const (
	snapshotName = "board.json"
	logName      = "board.log"     // one op per line
	damagedName  = "board.damaged" // what couldn't be read at the log's end
)

// foldAt is the size of the log from which on it is folded into the snapshot,
// if the snapshot is smaller.
const foldAt = 1 << 20 // bytes

// journal keeps ops on disk. Without a directory it keeps nothing.
type journal struct {
	dir      string
	log      *os.File
	sync     func() error // the log's
	size     int64        // of the log
	snapshot int64        // size of the snapshot
}

// openJournal gives what the directory has.
func openJournal(dir string) (*journal, *board, error) {
	j := &journal{dir: dir}
	if dir == "" {
		return j, newBoard(), nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the data directory: %w", err)
	}
	b, err := j.readSnapshot()
	if err != nil {
		return nil, nil, err
	}
	j.log, err = os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the log: %w", err)
	}
	j.sync = j.log.Sync
	if err := errors.Join(j.replay(b), syncDir(dir)); err != nil {
		return nil, nil, errors.Join(err, j.log.Close())
	}
	return j, b, nil
}

func (j *journal) readSnapshot() (*board, error) {
	path := filepath.Join(j.dir, snapshotName)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newBoard(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the snapshot: %w", err)
	}
	b := newBoard()
	if err := json.Unmarshal(raw, b); err != nil {
		// It is put in place whole; what stands there was damaged later. Never an
		// empty drawing in place of a lost one.
		return nil, fmt.Errorf("the snapshot %s is damaged; move it away to begin anew: %w", path, err)
	}
	b.index()
	j.snapshot = int64(len(raw))
	return b, nil
}

// replay applies the log. A kill or power cut leaves a torn end of what wasn't
// yet acknowledged to anybody: it is set aside.
func (j *journal) replay(b *board) error {
	raw, err := io.ReadAll(j.log)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	for rest := raw; ; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		var o op
		if !whole || json.Unmarshal(line, &o) != nil {
			return j.setAside(rest)
		}
		j.size += int64(len(line)) + 1
		if rest = after; o.N <= b.N {
			continue // in the snapshot already
		}
		_, _ = b.apply(o) // what it refused then it refuses again
	}
}

func (j *journal) setAside(torn []byte) error {
	if len(torn) == 0 {
		return nil
	}
	if err := os.WriteFile(filepath.Join(j.dir, damagedName), torn, 0o600); err != nil {
		return fmt.Errorf("set the log's torn end aside: %w", err)
	}
	if err := errors.Join(j.log.Truncate(j.size), j.sync()); err != nil {
		return fmt.Errorf("cut the log's torn end off: %w", err)
	}
	fmt.Printf("whiteboard: set aside %d bytes of an unfinished change\n", len(torn))
	return nil
}

// append returns once all ops are durable.
func (j *journal) append(ops []op) error {
	if j.log == nil {
		return nil
	}
	var lines bytes.Buffer
	e := json.NewEncoder(&lines) // ends each with a newline
	for _, o := range ops {
		if err := e.Encode(o); err != nil {
			return fmt.Errorf("encode a change: %w", err)
		}
	}
	n, err := j.log.Write(lines.Bytes())
	j.size += int64(n)
	if err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	if err := j.sync(); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	return nil
}

// grown reports whether it is time to fold.
func (j *journal) grown() bool { return j.log != nil && j.size > max(foldAt, j.snapshot) }

// fold puts a snapshot in place and empties the log. A crash in between leaves
// ops in the log that the snapshot has, which replay skips.
func (j *journal) fold(b *board) error {
	if j.log == nil || j.size == 0 {
		return nil
	}
	raw, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode the snapshot: %w", err)
	}
	if err := replaceFile(filepath.Join(j.dir, snapshotName), raw); err != nil {
		return fmt.Errorf("write the snapshot: %w", err)
	}
	j.snapshot = int64(len(raw))
	if err := errors.Join(j.log.Truncate(0), j.sync()); err != nil {
		return fmt.Errorf("empty the log: %w", err)
	}
	j.size = 0
	return nil
}

func (j *journal) close() error {
	if j.log == nil {
		return nil
	}
	return j.log.Close()
}

// replaceFile writes a file so that path has the old content or the new one,
// whenever the power fails.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
