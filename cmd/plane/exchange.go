package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// unfinished is the file that is there while a restore moves things: after a
// power cut in between, an empty store must not be taken for the restored one.
const unfinished = "restore.unfinished"

// checkRestored refuses a directory in which a restore was cut short.
func checkRestored(dir string) error {
	aside := line(filepath.Join(dir, unfinished))
	if aside == "" {
		return nil
	}
	return fmt.Errorf("a restore of %s was cut short; run `plane restore` again (what was there before is in %s)", dir, aside)
}

// move is one file or directory that the restored one replaces.
type move struct{ now, staged, aside string }

// exchange puts what is staged in the place of what is there, and that aside.
// If it fails, what was there is put back.
func (r restoration) exchange(staged string, whole bool) (aside string, err error) {
	beside := filepath.Dir(r.db) // on the same file system
	aside = filepath.Join(beside, "before-restore-"+time.Now().UTC().Format("20060102T150405.000"))
	moves := []move{
		{r.db, filepath.Join(staged, storeFile), filepath.Join(aside, storeFile)},
		{r.db + "-wal", "", filepath.Join(aside, storeFile+"-wal")},
		{r.db + "-shm", "", filepath.Join(aside, storeFile+"-shm")},
	}
	if whole {
		for _, name := range []string{nameFile, clusterFile, volumesDir} {
			moves = append(moves, move{filepath.Join(r.dir, name), filepath.Join(staged, name), filepath.Join(aside, name)})
		}
		// The drone's memory is of what ran for the former store.
		moves = append(moves, move{r.home.Journal(), "", filepath.Join(aside, filepath.Base(r.home.Journal()))})
	}
	mark := filepath.Join(beside, unfinished)
	if err := errors.Join(os.Mkdir(aside, 0o700), writeFile(mark, aside+"\n"), syncDir(beside)); err != nil {
		return "", err
	}
	n, err := swap(moves)
	if err != nil {
		return "", errors.Join(err, unswap(moves[:n]), os.Remove(mark), os.Remove(aside))
	}
	if err := errors.Join(syncDir(aside), syncDir(r.dir), syncDir(beside), os.Remove(mark), syncDir(beside)); err != nil {
		return "", err
	}
	if os.Remove(aside) == nil { // there was nothing
		return "", nil
	}
	return aside, nil
}

// swap does the moves; n is how many it has begun.
func swap(moves []move) (n int, err error) {
	for i, m := range moves {
		if err := rename(m.now, m.aside); err != nil {
			return i + 1, err
		}
		if m.staged == "" {
			continue
		}
		if err := rename(m.staged, m.now); err != nil {
			return i + 1, err
		}
	}
	return len(moves), nil
}

// unswap puts back what was aside.
func unswap(moves []move) error {
	var all error
	for _, m := range moves {
		if _, err := os.Lstat(m.aside); err != nil {
			continue // it wasn't moved; what is there may be new, or what was there
		}
		all = errors.Join(all, os.RemoveAll(m.now), os.Rename(m.aside, m.now))
	}
	return all
}

// rename moves what is there, if anything is.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
