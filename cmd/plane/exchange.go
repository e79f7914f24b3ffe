package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// unfinished is the file that is there while a restore moves things: after a
// power cut in between, an empty store must not be taken for the restored one.
const unfinished = "restore.unfinished"

// Directories beside the store: what a restore unpacks, and what it puts aside.
const (
	stagedPrefix = ".restore-"
	asidePrefix  = "before-restore-"
)

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
	aside = filepath.Join(beside, asidePrefix+time.Now().UTC().Format("20060102T150405.000"))
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
		if back := unswap(moves[:n]); back != nil {
			return "", errors.Join(err, back) // the mark stays: nothing may start on half of it
		}
		return "", errors.Join(aboutMove(err), os.Remove(mark), os.Remove(aside))
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

// aboutMove says what to do about a move that the system refuses.
func aboutMove(err error) error {
	if errors.Is(err, syscall.EXDEV) {
		return errors.New("store and data directory are on two file systems, and so can't be exchanged together; put back the store alone with --store-only")
	}
	return aboutFile(err)
}

// unswap puts back what was aside, and removes what stands where nothing was.
func unswap(begun []move) error {
	var all error
	for i, m := range begun {
		if _, err := os.Lstat(m.aside); err != nil {
			// The last one failed: what is there may be what was there.
			if i < len(begun)-1 && m.staged != "" {
				all = errors.Join(all, os.RemoveAll(m.now))
			}
			continue
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
