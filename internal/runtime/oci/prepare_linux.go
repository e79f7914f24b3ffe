package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"plane"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
	"plane/internal/runtime/oci/waiter"
)

// initPath is where a sandbox has its waiter until it is claimed: in its /dev, so
// that the image's own files are left as they are.
const initPath = "/dev/init"

// kick has the stock looked at.
func (r *Runtime) kick() {
	select {
	case r.kicked <- struct{}{}:
	default:
	}
}

// fill keeps sandboxes in stock until ctx is done, one preparation at a time and
// none while a backend starts.
func (r *Runtime) fill(ctx context.Context) {
	defer r.empty(ctx)
	look := time.NewTicker(time.Minute) // for kinds that nobody wants any more
	defer look.Stop()
	for {
		for r.step(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case <-r.kicked:
		case <-look.C:
		}
	}
}

// step does the next thing, and reports whether there was one.
func (r *Runtime) step(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	r.mu.Lock()
	busy := r.active > 0
	var to *shelf
	var like recipe
	var discard []string
	if !busy {
		if to, discard = r.stock.next(r.opts.Prepared.most(), time.Now()); to != nil {
			like = recipe{to.image, to.like}
		}
	}
	r.mu.Unlock()
	switch {
	case len(discard) > 0:
		r.discard(ctx, discard)
	case to != nil:
		w, err := r.prepare(ctx, like)
		if errors.Is(err, errInterrupted) {
			return true
		}
		r.mu.Lock()
		if err != nil {
			to.failed = time.Now()
		} else {
			to.ready = append(to.ready, w)
		}
		r.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			r.log.Warn("no sandbox could be prepared; starts of this image take longer", "image", like.image.name, "error", err)
		}
	default:
		return false
	}
	return true
}

// discard ends prepared sandboxes, also when ctx has ended.
func (r *Runtime) discard(ctx context.Context, ids []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := r.Ask(ctx, func(c *warden.Client) error { return c.Discard(ctx, ids...) }); err != nil {
		r.log.Warn("prepared sandboxes are not discarded; they end with this agent", "error", err)
		return
	}
	for _, id := range ids {
		r.drop(id)
	}
}

// empty discards the stock.
func (r *Runtime) empty(ctx context.Context) {
	r.mu.Lock()
	ids := r.stock.all()
	r.stock = stock{}
	r.mu.Unlock()
	if len(ids) > 0 {
		r.discard(ctx, ids)
	}
}

// recipe is what a sandbox is made of.
type recipe struct {
	image *picture
	like  plane.Executable
}

// errInterrupted: the warden was replaced meanwhile; prepare another.
var errInterrupted = errors.New("interrupted")

// prepare makes one sandbox.
func (r *Runtime) prepare(ctx context.Context, like recipe) (w waiting, err error) {
	h, f, err := r.machine(ctx)
	if err != nil {
		return w, err
	}
	w.id = warden.NewSandboxID()
	b := bundleOf(r.opts.Home, w.id)
	defer func() {
		if err != nil {
			r.discard(ctx, []string{w.id})
			r.drop(w.id)
		}
	}()
	if err := r.from.hold(ctx, w.id, like.image.digest); err != nil {
		return w, err
	}
	if err := b.create(); err != nil {
		return w, err
	}
	stage, err := r.furnishWaiting(h, f, b, like, &w)
	if err != nil {
		return w, err
	}
	defer stage.Close()
	err = r.Ask(ctx, func(c *warden.Client) error {
		err := c.Prepare(ctx, warden.Sandbox{ID: w.id, Limits: r.limits(h, like.like.Limits), Launch: r.launcher(h, stage, b, w.id, true)})
		if errors.Is(err, warden.ErrLost) {
			return errInterrupted // what was launched is nobody's: not by the same name again
		}
		return err
	})
	if err != nil {
		return w, err
	}
	text, err := os.ReadFile(b.path(pidFile))
	if err == nil {
		w.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	return w, err
}

// furnishWaiting is build for a sandbox whose backend isn't known yet.
func (r *Runtime) furnishWaiting(h *host, f *filter, b bundle, like recipe, w *waiting) (*stage, error) {
	program, err := waiter.Program()
	if err != nil {
		return nil, err
	}
	s := r.sandbox(h, f, like.like, w.id)
	s.stop = like.image.config.StopSignal
	s.argv, s.dir, s.env = []string{initPath}, "/", []string{"PATH=" + defaultPath}
	return newStage(h, b, func(at *stage) error {
		if err := r.mount(at, b, like.image.layers, like.like.Limits.DiskLimitBytes); err != nil {
			return err
		}
		s.root = at.path(rootDir)
		root, err := openRootfs(s.root)
		if err != nil {
			return err
		}
		defer root.Close()
		if s.who, err = root.user(like.like, like.image); err != nil {
			return err
		}
		w.who = s.who
		for _, dir := range []string{runtime.DoorsDir, runtime.DataDir} { // where what a backend sees is attached
			if err := root.mkdir(dir, r.owner(0)); err != nil {
				return fmt.Errorf("make %s in image %s: %w", dir, like.image.name, err)
			}
		}
		if s.binds, err = at.etc(s.hostname, ""); err != nil {
			return err
		}
		file := at.path("init")
		if err := errors.Join(os.WriteFile(file, program, 0o555), os.Chmod(file, 0o555)); err != nil {
			return fmt.Errorf("write waiter: %w", err)
		}
		s.binds = append(s.binds, bind{file, initPath})
		return writeSpec(b.dir, s.spec())
	})
}
