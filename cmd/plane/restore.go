package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"plane"
	"plane/internal/backup"
	"plane/internal/controller"
	"plane/internal/drone/home"
	"plane/internal/drone/journal"
	deadlines "plane/internal/drone/table"
	"plane/internal/store"
	"plane/internal/store/sqlite"
)

type restoreFlags struct {
	stateFlags
	storeOnly bool
}

func newRestoreCommand() *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put back what a backup holds",
		Long: `Put back the store, the names and the kept data that FILE holds. Nothing may run
in the data directory. What is there now is put aside, not deleted. FILE is
checked as a whole before anything is touched. It goes back to where it was made:
run this in the same directory, or name another data directory with --data-dir.

With --store-only, and of a controller's backup, only the store is put back.
Backends that run go on: those that the store doesn't know are taken over when
their drones connect, and nothing new is started until older leases have run
out.`,
		Example: "  plane restore ~/backups/monday.plane",
		GroupID: groupUse,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return runRestore(cmd.Context(), f, given[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.bind(cmd.Flags())
	cmd.Flags().BoolVar(&f.storeOnly, "store-only", false, "leave names and data as they are; backends may run")
	return cmd
}

// restored is what --json prints.
type restored struct {
	DataDir string           `json:"data_dir"`
	Head    backup.Head      `json:"head"`
	Store   plane.StoreEpoch `json:"store"` // that generations go on in
	Whole   bool             `json:"whole"` // names and data too
	Files   int              `json:"files"`
	Aside   string           `json:"aside,omitempty"` // where the former state is
	Fresh   bool             `json:"nothing_was_there,omitempty"`
	Wait    int64            `json:"nothing_started_for_seconds"`
}

func runRestore(ctx context.Context, f restoreFlags, file string, out, errOut io.Writer) error {
	in, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no file %s; name one that `plane backup` wrote", file)
	}
	if err != nil {
		return aboutBackup(file, err)
	}
	defer in.Close()
	at, err := f.target(in, file)
	if err != nil {
		return unchanged(file, err)
	}
	_, missing := os.Stat(at.db)
	h, release, err := at.seize()
	if err != nil {
		return err
	}
	defer release()
	r := restoration{place: at, home: h, storeOnly: f.storeOnly}
	done, err := r.run(ctx, in, progress(errOut, "unpacked"))
	if err != nil {
		return unchanged(file, err)
	}
	done.Fresh = missing != nil && done.Aside == ""
	if f.json {
		return printJSON(out, done)
	}
	return done.print(out)
}

// target is the directory that is meant, if none is named the one that is to
// such a backup what it was made of.
func (f restoreFlags) target(in io.ReadSeeker, file string) (place, error) {
	head, err := backup.Peek(in)
	if err != nil {
		return place{}, err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return place{}, err
	}
	dir := f.dataDir
	switch {
	case dir != "":
	case head.Drone == "":
		dir = roleDataDir("controller")
	default:
		used := false
		if dir, used, err = devPlace(); err != nil {
			return place{}, err
		}
		if err := madeOf(head, dir, used, file); err != nil {
			return place{}, err
		}
	}
	return f.at(dir)
}

// madeOf refuses to guess: a backup of a `plane dev` goes back to where it was
// made, unless another data directory is named.
func madeOf(head backup.Head, dir string, used bool, file string) error {
	name := plane.NodeName(line(filepath.Join(dir, nameFile)))
	switch {
	case used && name == head.Drone:
		return nil
	case !used:
		return fmt.Errorf("`plane dev` was never used in this directory: go to where %s was made, or put it back here all the same with\n  plane restore %s --data-dir %s", file, file, dir)
	case name == "":
		return fmt.Errorf("nothing tells whether %s was made of %s; if it is meant, say so with --data-dir %s", file, dir, dir)
	}
	return fmt.Errorf("%s was made of another data directory (its drone is %s) than that of `plane dev` here (%s); go to where it was made, or name what it is to replace with --data-dir",
		file, head.Drone, name)
}

// unchanged says that a file is of no use.
func unchanged(file string, err error) error {
	if errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrNotBackup) || errors.Is(err, backup.ErrNewer) {
		return fmt.Errorf("%s can't be restored, and nothing was changed: %w", file, err)
	}
	return aboutFile(err)
}

func (r restored) print(out io.Writer) error {
	what := "the store"
	if r.Whole {
		what = "store, names and data"
	}
	before := " again"
	if r.Fresh {
		before = "; nothing was there before"
	}
	text := fmt.Sprintf("%s has %s of %s%s.\n", r.DataDir, what, r.Head.CreatedAt.Local().Format(time.DateTime), before)
	if r.Aside != "" {
		text += fmt.Sprintf("What was there is in %s.\n", r.Aside)
	}
	if r.Wait > 0 {
		text += fmt.Sprintf("Backends that run are taken over; nothing new is started for %d s, until older leases have run out.\n", r.Wait)
	}
	_, err := io.WriteString(out, text)
	return err
}

// seize makes sure that no part of Plane works in the data directory, nor begins to.
func (p place) seize() (home.Home, func(), error) {
	h, err := home.New(p.dir)
	if err != nil {
		return h, nil, aboutFile(err)
	}
	agent, err := h.LockAgent()
	if err != nil {
		return h, nil, err // it says what to do
	}
	if err := os.MkdirAll(filepath.Dir(p.db), 0o700); err != nil {
		agent.Release()
		return h, nil, aboutFile(err)
	}
	db, err := sqlite.Lock(p.db)
	if err != nil {
		agent.Release()
		return h, nil, err
	}
	return h, func() { _ = db.Close(); agent.Release() }, nil
}

// restoration is one run of `plane restore` in a directory that it has seized.
type restoration struct {
	place
	home      home.Home
	storeOnly bool
}

func (r restoration) run(ctx context.Context, in io.Reader, progress func(backup.Sum)) (restored, error) {
	done := restored{DataDir: r.dir}
	if err := r.tidy(); err != nil {
		return done, err
	}
	staged, err := os.MkdirTemp(filepath.Dir(r.db), stagedPrefix+"*") // on the store's file system
	if err != nil {
		return done, err
	}
	defer os.RemoveAll(staged)
	root, err := os.OpenRoot(staged)
	if err != nil {
		return done, err
	}
	defer root.Close()
	u := backup.Reader{Progress: progress}
	if done.Head, err = u.Unpack(ctx, in, root); err != nil {
		return done, err
	}
	done.Files = u.Sum().Files
	done.Whole = done.Head.Drone != "" && !r.storeOnly
	if n := r.living(); done.Whole && n > 0 {
		return done, fmt.Errorf("%s of %s still %s: start `plane dev` there and end it with Ctrl-C, wait for their deadline, or put back the store alone with --store-only",
			plural(n, "backend"), r.dir, map[bool]string{true: "runs", false: "run"}[n == 1])
	}
	wait, err := r.prepare(ctx, filepath.Join(staged, storeFile), &done)
	if err != nil {
		return done, err
	}
	done.Wait = int64(wait.Seconds())
	done.Aside, err = r.exchange(staged, done.Whole)
	return done, err
}

// tidy removes what restores that were killed had unpacked.
func (r restoration) tidy() error {
	var all error
	for _, dir := range r.beside(stagedPrefix) {
		all = errors.Join(all, os.RemoveAll(dir))
	}
	return all
}

// beside are the directories beside the store whose names begin so, sorted.
func (r restoration) beside(prefix string) []string {
	dir := filepath.Dir(r.db)
	there, _ := os.ReadDir(dir) // seize has made it
	var all []string
	for _, e := range there {
		if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all
}

// living is how many backends of the directory run.
func (r restoration) living() int {
	t, err := deadlines.Open(r.home.TableFile())
	if err != nil {
		return 0 // without a table nothing runs: it outlives all but a reboot
	}
	defer t.Close()
	return len(t.Entries())
}

// prepare makes the staged store one that a controller may open: see controller.Restored.
func (r restoration) prepare(ctx context.Context, staged string, done *restored) (wait time.Duration, err error) {
	former := r.former(ctx)
	db, err := sqlite.Open(ctx, staged, sqlite.Options{}) // migrates it
	if err != nil {
		return 0, err
	}
	how := controller.Restoration{From: done.Head.CreatedAt, Least: former.epoch}
	if done.Whole {
		how.Gone = done.Head.Drone
	}
	err = db.Update(ctx, func(tx store.Tx) (err error) {
		if done.Store, wait, err = controller.Restored(tx, how); err != nil || done.Whole {
			return err
		}
		return controller.KeepVolumes(tx, former.volumes)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return 0, err
	}
	return wait, os.Remove(staged + ".lock")
}

// former is what must be remembered of the state that is replaced.
type former struct {
	epoch   int64 // highest number of a store epoch that was seen here
	volumes []store.Volume
}

// former state, as far as it can be read: it may be what is damaged. If
// restores were cut short, some of it is in what they have put aside.
func (r restoration) former(ctx context.Context) former {
	f := formerOf(ctx, r.db, r.home.Journal())
	if line(filepath.Join(filepath.Dir(r.db), unfinished)) == "" {
		return f
	}
	_, missing := os.Stat(r.db) // if it is there it has been told of data
	for _, dir := range slices.Backward(r.beside(asidePrefix)) {
		aside := formerOf(ctx, filepath.Join(dir, storeFile), filepath.Join(dir, filepath.Base(r.home.Journal())))
		f.epoch = max(f.epoch, aside.epoch)
		if missing != nil && f.volumes == nil {
			f.volumes = aside.volumes
		}
	}
	return f
}

func formerOf(ctx context.Context, db, drone string) former {
	var f former
	_ = sqlite.Read(ctx, db, func(tx store.Tx) error {
		e, err := tx.StoreEpoch()
		if err != nil {
			return err
		}
		f.epoch = e.Number
		for after := ""; ; {
			page, err := tx.Volumes(nil, "", after, 0)
			if err != nil || len(page) == 0 {
				return err
			}
			f.volumes = append(f.volumes, page...)
			after = page[len(page)-1].ID
		}
	})
	if _, err := os.Stat(drone); err != nil {
		return f
	}
	j, err := journal.Open(drone)
	if err != nil {
		return f
	}
	defer j.Close()
	if nodes, err := journal.All[journal.Node](j, journal.KindNode); err == nil {
		f.epoch = max(f.epoch, nodes[""].Store.Number)
	}
	return f
}
