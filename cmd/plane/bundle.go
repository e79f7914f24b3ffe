package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"plane/client"
)

const (
	bundledLog    = 1 << 20 // bytes of each log's end
	bundledEvents = 10_000  // the latest
	bundleWait    = 20 * time.Second
)

// bundle gathers what helps somebody else to see what is wrong.
type bundle struct {
	remote
	state stateFlags
	force bool
}

func newSupportBundleCommand() *cobra.Command {
	var b bundle
	cmd := &cobra.Command{
		Use:   "support-bundle FILE",
		Short: "Gather what others need to see what is wrong",
		Long: `Write what others need to see what is wrong to FILE, a .tar.gz that can be looked
through before it is sent: version, doctor's findings, the ends of the logs, and
of a controller that answers its apps, backends and events.

It holds names of keys, apps, machines and callers, and commands. It holds no
environment of apps, no output of programs, no data and none of the store's secrets.`,
		Example: "  plane support-bundle plane-support.tar.gz",
		GroupID: groupUse,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			return b.run(cmd, given[0])
		},
	}
	b.bind(cmd.Flags())
	cmd.Flags().StringVar(&b.state.db, "db", "", "store, if it isn't in the data directory: sqlite:PATH")
	cmd.Flags().BoolVar(&b.force, "force", false, "overwrite FILE")
	return cmd
}

func (b bundle) run(cmd *cobra.Command, file string) (err error) {
	b.state.dataDir = cmp.Or(b.dataDir, os.Getenv("PLANE_DATA_DIR"))
	at, err := b.state.place()
	if err != nil {
		return err
	}
	how := os.O_EXCL
	if b.force {
		how = os.O_TRUNC
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|how, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; choose another name, or overwrite it with --force", file)
	}
	if err != nil {
		return aboutBackup(file, err)
	}
	w := newPile(f)
	b.gather(cmd.Context(), w, at)
	err = errors.Join(w.close(), cmd.Context().Err(), f.Close())
	if err != nil {
		return aboutBackup(file, errors.Join(err, os.Remove(file)))
	}
	if b.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"file": file, "holds": w.names, "missing": w.missing})
	}
	for _, why := range w.missing {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "not in it: %s\n", why)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s; look through it before you send it\n", file, plural(len(w.names), "file"))
	return err
}

func (b bundle) gather(ctx context.Context, w *pile, at place) {
	w.json("version.json", thisBuild())
	d := doctor{doctorFlags: doctorFlags{stateFlags: b.state, maxBackends: defaultMaxBackends}, place: at, home: watchedHome(at.dir)}
	w.json("doctor.json", map[string]any{"data_dir": at.dir, "checks": d.examine(ctx)})
	logs, _ := filepath.Glob(filepath.Join(at.dir, "*.log")) // a directory with signs of patterns has none
	for _, log := range logs {
		w.tail(path.Join("logs", filepath.Base(log)), log)
	}
	ctx, cancel := context.WithTimeout(ctx, bundleWait)
	defer cancel()
	c, err := b.client()
	if err == nil {
		err = ask(ctx, w, c)
	}
	if err != nil {
		w.lacks("controller", err)
	}
}

// ask adds what the controller says, until it says no more.
func ask(ctx context.Context, w *pile, c *client.Client) error {
	about, err := c.About(ctx)
	if err != nil {
		return err
	}
	w.json("controller.json", about)
	apps, err := c.Apps(ctx)
	if err != nil {
		return err
	}
	for i := range apps.Apps {
		env := apps.Apps[i].Spec.Env
		for name := range env {
			env[name] = "***"
		}
	}
	w.json("apps.json", apps)
	backends := []client.Backend{}
	for x, err := range c.Backends(ctx, client.Filter{}) {
		if err != nil {
			return err
		}
		if x.Exit != nil {
			x.Exit.Output = ""
		}
		backends = append(backends, x)
	}
	w.json("backends.json", backends)
	events := []client.Event{}
	err = c.Events(ctx, 0, func(e client.Event) error {
		if events = append(events, e); len(events) > 2*bundledEvents {
			events = append(events[:0], events[bundledEvents:]...)
		}
		return nil
	})
	w.json("events.json", events[max(0, len(events)-bundledEvents):])
	return err
}

// pile is a .tar.gz in the making; its first error is that of close.
type pile struct {
	gz             *gzip.Writer
	tar            *tar.Writer
	names, missing []string
	err            error
}

func newPile(out io.Writer) *pile {
	gz := gzip.NewWriter(out)
	return &pile{gz: gz, tar: tar.NewWriter(gz), missing: []string{}}
}

func (p *pile) add(name string, b []byte) {
	h := &tar.Header{Name: path.Join("plane-support", name), Mode: 0o600, Size: int64(len(b)), ModTime: time.Now()}
	if p.err = errors.Join(p.err, p.tar.WriteHeader(h)); p.err == nil {
		_, p.err = p.tar.Write(b)
		p.names = append(p.names, name)
	}
}

func (p *pile) json(name string, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		p.lacks(name, err)
		return
	}
	p.add(name, b)
}

// tail adds the end of a file.
func (p *pile) tail(name, file string) {
	f, err := os.Open(file)
	if err != nil {
		p.lacks(name, err)
		return
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > bundledLog {
		_, _ = f.Seek(-bundledLog, io.SeekEnd)
	}
	b, err := io.ReadAll(io.LimitReader(f, bundledLog))
	if err != nil {
		p.lacks(name, err)
		return
	}
	p.add(name, b)
}

func (p *pile) lacks(name string, err error) {
	p.missing = append(p.missing, name+": "+sentence(err))
}

func (p *pile) close() error { return errors.Join(p.err, p.tar.Close(), p.gz.Close()) }
