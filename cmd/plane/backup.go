package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plane"
	"plane/internal/backup"
	"plane/internal/store"
	"plane/internal/store/sqlite"
)

// Names inside a data directory, and inside a backup of it.
const (
	storeFile   = "plane.db"
	nameFile    = "name"    // of the drone
	clusterFile = "cluster" // of `plane dev`
	volumesDir  = "volumes" // the data of keys
)

// stateFlags find the data directory that a command works on without a controller.
type stateFlags struct {
	dataDir, db string
	json        bool
}

func (f *stateFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.dataDir, "data-dir", os.Getenv("PLANE_DATA_DIR"), "data directory (default: that of \"plane dev\" in this directory or above, else the controller's)")
	flags.StringVar(&f.db, "db", "", "store, if it isn't in the data directory: sqlite:PATH")
	flags.BoolVar(&f.json, "json", false, "print JSON")
}

// place is a data directory and the store in it, or beside it.
type place struct{ dir, db string }

// place that is meant. It need not exist.
func (f stateFlags) place() (place, error) {
	if f.dataDir != "" {
		return f.at(f.dataDir)
	}
	dir, used, err := devPlace()
	if err != nil {
		return place{}, err
	}
	if _, err := os.Stat(filepath.Join(roleDataDir("controller"), storeFile)); err == nil && !used {
		dir = roleDataDir("controller")
	}
	return f.at(dir)
}

// devPlace is the data directory of `plane dev` here, or of the nearest
// directory above where it was used.
func devPlace() (dir string, used bool, err error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", false, fmt.Errorf("find the working directory: %w", err)
	}
	for _, up := range upwards(realDir(wd)) {
		if dir, used := devDataDirOf(up); used {
			return dir, true, nil
		}
	}
	return devDataDir(wd), false, nil
}

func (f stateFlags) at(dir string) (place, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return place{}, err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	db, err := sqlitePath(f.db, "", dir)
	return place{dir, db}, err
}

type backupFlags struct {
	stateFlags
	force bool
}

func newBackupCommand() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write store and data of keys to a file, while everything runs",
		Long: `Write the store, the names and the kept data of a data directory to FILE, also
while it is in use: of the store a snapshot, of each key's data the files as
they are. What a program had written before the backup began is in it; a file
that is rewritten in place while it is copied may be half old and half new, as
after a power cut, and is named.

FILE holds the keys that tokens are sealed with: whoever has it can make them.`,
		Example: "  plane backup ~/backups/monday.plane",
		GroupID: groupUse,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return runBackup(cmd.Context(), f, given[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.bind(cmd.Flags())
	cmd.Flags().BoolVar(&f.force, "force", false, "overwrite FILE")
	return cmd
}

// backedUp is what --json prints.
type backedUp struct {
	File  string      `json:"file"`
	Bytes int64       `json:"bytes"` // of FILE
	Files int         `json:"files"` // that it holds
	Head  backup.Head `json:"head"`
	Torn  []string    `json:"torn,omitempty"`
}

func runBackup(ctx context.Context, f backupFlags, file string, out, errOut io.Writer) error {
	at, err := f.place()
	if err != nil {
		return err
	}
	if _, err := os.Stat(at.db); err != nil {
		return fmt.Errorf("there is no store at %s; name the data directory with --data-dir", at.db)
	}
	defer at.hold()()
	replace := backup.Keep
	if f.force {
		replace = backup.Overwrite
	}
	w, err := backup.Create(file, replace)
	if err != nil {
		return aboutBackup(file, err)
	}
	defer w.Close()
	w.Progress = progress(errOut, "copied")
	head, err := at.backup(ctx, w, filepath.Dir(file))
	if err != nil {
		return aboutBackup(file, err)
	}
	st, err := os.Stat(file)
	if err != nil {
		return aboutFile(err)
	}
	sum := w.Sum()
	if f.json {
		return printJSON(out, backedUp{File: file, Bytes: st.Size(), Files: sum.Files, Head: head, Torn: sum.Torn})
	}
	for _, name := range sum.Torn {
		_, _ = fmt.Fprintf(errOut, "%s was being rewritten while it was copied; what the backup has of it may be half old and half new\n", name)
	}
	_, err = fmt.Fprintf(out, "%s: %s, %s\n", file, bytesText(st.Size()), plural(sum.Files, "file"))
	return err
}

// aboutBackup says what to do about a file that can't be written or read.
func aboutBackup(file string, err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, sqlite.ErrDiskFull): // of the snapshot, beside the file
		return fmt.Errorf("no space left to write %s; free some, or write it to another disk", file)
	case !errors.As(err, &path):
		return err
	case errors.Is(err, fs.ErrNotExist) && filepath.Dir(path.Path) == filepath.Dir(file):
		return fmt.Errorf("there is no directory %s; make it, or name another file", filepath.Dir(file))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission for %s; run this as its owner, or name another file", path.Path)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%s is a directory; name a file in it", path.Path)
	}
	return err
}

// hold keeps the data directory from being exchanged while it is read, if
// nobody else holds it: then that one does so.
func (p place) hold() (release func()) {
	lock, err := sqlite.Lock(p.db)
	if err != nil {
		return func() {}
	}
	return func() { _ = lock.Close() }
}

// backup writes everything. The store comes first: whatever data it names is
// there when the data is copied.
func (p place) backup(ctx context.Context, w *backup.Writer, near string) (backup.Head, error) {
	tmp, err := os.MkdirTemp(near, ".plane-backup-*")
	if err != nil {
		return backup.Head{}, err
	}
	defer os.RemoveAll(tmp)
	db := filepath.Join(tmp, storeFile)
	if err := sqlite.Snapshot(ctx, p.db, db); err != nil {
		return backup.Head{}, err
	}
	head, err := p.head(ctx, db)
	if err != nil {
		return head, err
	}
	if err := w.Head(head); err != nil {
		return head, err
	}
	if err := w.File(ctx, storeFile, db); err != nil {
		return head, err
	}
	if head.Drone != "" {
		for _, name := range []string{nameFile, clusterFile} {
			if err := w.File(ctx, name, filepath.Join(p.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return head, err
			}
		}
		if err := p.volumes(ctx, w); err != nil {
			return head, err
		}
	}
	return head, w.Finish()
}

func (p place) head(ctx context.Context, db string) (backup.Head, error) {
	h := backup.Head{Format: backup.Format, Version: version, CreatedAt: time.Now().UTC()}
	var err error
	if h.Schema, _, err = sqlite.Schema(db); err != nil {
		return h, err
	}
	err = sqlite.Read(ctx, db, func(tx store.Tx) (err error) {
		h.Store, err = tx.StoreEpoch()
		return err
	})
	h.Cluster = plane.ClusterName(line(filepath.Join(p.dir, clusterFile)))
	h.Drone = plane.NodeName(line(filepath.Join(p.dir, nameFile)))
	return h, err
}

// line is the one line of a small file, "" if there is none.
func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (p place) volumes(ctx context.Context, w *backup.Writer) error {
	all, err := os.ReadDir(filepath.Join(p.dir, volumesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, v := range all {
		if err := w.Tree(ctx, path.Join(volumesDir, v.Name()), filepath.Join(p.dir, volumesDir, v.Name())); err != nil {
			return err
		}
	}
	return nil
}

const progressEvery = 2 * time.Second

// progress tells now and then how far long work has come.
func progress(out io.Writer, done string) func(backup.Sum) {
	last := time.Now()
	return func(s backup.Sum) {
		if time.Since(last) >= progressEvery {
			last = time.Now()
			_, _ = fmt.Fprintf(out, "%s %s in %s\n", done, bytesText(s.Bytes), plural(s.Files, "file"))
		}
	}
}
