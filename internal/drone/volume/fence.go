package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"plane"
)

// fenceOf is the file beside a volume that has the last generation attached.
func fenceOf(dir string) string { return dir + ".generation" }

// fence is the last generation that a volume was attached for; 0 = none. A file
// that can't be read is an error: it might forbid what is about to start.
func (s *Shelf) fence(id string) (plane.Generation, error) {
	path := fenceOf(s.home.Volume(id))
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the last generation of a volume: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s must hold the number of the last generation of a volume, and doesn't; remove it if you know that no backend of that key runs", path)
	}
	return plane.Generation(n), nil
}

// raise records a generation before anything of it starts; a power cut leaves
// the old number or the new one.
func (s *Shelf) raise(id string, g plane.Generation) error {
	path := fenceOf(s.home.Volume(id))
	if err := writeDurable(path, strconv.FormatInt(int64(g), 10)+"\n"); err != nil {
		return fmt.Errorf("record the generation of a volume: %w", err)
	}
	return nil
}

func writeDurable(path, text string) error {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(text); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	return syncDir(filepath.Dir(path))
}
