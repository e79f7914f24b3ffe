package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plane/internal/store"
	"plane/internal/store/sqlite"
)

const (
	littleSpace  = 1 << 30  // bytes: warn
	noSpace      = 64 << 20 // bytes: fail
	littleInodes = 10_000
	slowSync     = 100 * time.Millisecond // of one commit
)

// existing is dir, or what will hold it.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// disk is what commits and data are written to.
func (d doctor) disk() finding {
	const check = "disk"
	dir := existing(d.dir)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return failed(check, fmt.Sprintf("%s can't be looked at: %v.", dir, err), "Choose another directory with --data-dir.")
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	took, err := syncTime(dir)
	switch {
	case errors.Is(err, unix.ENOSPC) || err == nil && free < noSpace:
		return failed(check, fmt.Sprintf("%s has %s left.", dir, bytesText(free)), "Free some space there.")
	case err != nil:
		return failed(check, fmt.Sprintf("Nothing can be written to %s: %v.", dir, errors.Unwrap(err)), "Change its owner or mode, or choose another directory with --data-dir.")
	case free < littleSpace:
		return warned(check, fmt.Sprintf("%s has %s left.", dir, bytesText(free)), "Free some space there.")
	case st.Files > 0 && st.Ffree < littleInodes:
		return warned(check, fmt.Sprintf("%s has room for %d more files.", dir, st.Ffree), "Remove small files from that file system.")
	case took > slowSync:
		return warned(check, fmt.Sprintf("A commit to %s takes %d ms.", dir, took.Milliseconds()), "Put the data directory on a faster disk; starts wait for commits.")
	}
	return fine(check, "%s has %s left; a commit takes %.1f ms.", dir, bytesText(free), float64(took.Microseconds())/1000)
}

// syncTime is how long it takes to write something and make it durable.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".plane-doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	best := time.Hour
	for range 3 {
		began := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		best = min(best, time.Since(began))
	}
	return best, nil
}

// store is the database.
func (d doctor) store() finding {
	const check = "store"
	if aside := line(filepath.Join(filepath.Dir(d.db), unfinished)); aside != "" {
		return failed(check, "A restore was cut short; what was there before is in "+aside+".", "Run `plane restore` again.")
	}
	if _, err := os.Stat(d.db); errors.Is(err, fs.ErrNotExist) {
		return fine(check, "There is none yet at %s.", d.db)
	}
	has, knows, err := sqlite.Schema(d.db)
	if err == nil {
		err = sqlite.QuickCheck(d.db)
	}
	switch {
	case errors.Is(err, sqlite.ErrPermission):
		return failed(check, d.db+" may not be read.", "Run this as its owner.")
	case err != nil:
		return failed(check, d.db+" is damaged or no store of Plane.", "Put back a backup with `plane restore FILE`; what is there is put aside.")
	case has > knows:
		return failed(check, fmt.Sprintf("%s has schema %d and this program knows up to %d.", d.db, has, knows), "Use the newer program.")
	case has < knows:
		return fine(check, "%s is sound; its schema %d becomes %d at the next start.", d.db, has, knows)
	}
	who := "nothing serves from it"
	if answers(operatorSocket(d.dir)) {
		who = "process " + line(d.db+".lock") + " has it open"
	}
	return fine(check, "%s is sound (schema %d); %s.", d.db, has, who)
}

// data compares the kept data of keys with what the store says of it.
func (d doctor) data(ctx context.Context) finding {
	const check = "data"
	dir, drone := filepath.Join(d.dir, volumesDir), line(filepath.Join(d.dir, nameFile))
	rows := map[string]bool{}
	var lost []string
	err := sqlite.Read(ctx, d.db, func(tx store.Tx) error {
		for after := ""; ; {
			page, err := tx.Volumes(nil, "", after, 0)
			if err != nil || len(page) == 0 {
				return err
			}
			for _, v := range page {
				after, rows[v.ID] = v.ID, true
				if _, err := os.Stat(filepath.Join(dir, v.ID)); err != nil && v.Made && string(v.Drone) == drone {
					lost = append(lost, strings.TrimPrefix(v.Namespace+"/"+v.Name, "/"))
				}
			}
		}
	})
	if err != nil {
		return fine(check, "There is none that could be looked at.")
	}
	if len(lost) > 0 {
		return failed(check, fmt.Sprintf("The data of %s is gone from %s: %s.", plural(len(lost), "key"), dir, strings.Join(lost[:min(len(lost), 5)], ", ")),
			"Put it back with `plane restore FILE`, or give it up with `plane data abandon KEY`.")
	}
	there, _ := os.ReadDir(dir)
	strange := 0
	for _, e := range there {
		if e.IsDir() && !rows[e.Name()] {
			strange++
		}
	}
	if strange > 0 {
		return warned(check, fmt.Sprintf("%s has data that the store doesn't know: %s.", dir, plural(strange, "volume")), "Look into them, and remove what nobody needs.")
	}
	return fine(check, "That of %s is kept here.", plural(len(rows), "key"))
}
