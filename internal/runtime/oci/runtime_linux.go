package oci

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"plane"
	"plane/internal/drone/means"
	"plane/internal/drone/warden"
	"plane/internal/image"
	"plane/internal/runtime"
	"plane/internal/runtime/isolation"
	"plane/internal/runtime/line"
)

// Runtime runs images through crun or runc.
type Runtime struct {
	*line.Line
	opts Options
	from source
	log  *slog.Logger

	kicked  chan struct{} // with room for one: the stock is to be looked at
	looking sync.Mutex    // held while the machine is looked at

	mu       sync.Mutex // guards the fields below
	host     *host
	filter   *filter
	pictures map[plane.BackendID]*picture
	sizes    map[plane.BackendID]size
	stock    stock
	active   int // starts under way
}

var (
	_ runtime.Runtime = (*Runtime)(nil)
	_ runtime.Logger  = (*Runtime)(nil)
	_ runtime.Meter   = (*process)(nil)
)

// New makes a Runtime.
func New(o Options) *Runtime { return newRuntime(store{o.Images}, o) }

func newRuntime(from source, o Options) *Runtime {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.TmpfsSize == 0 {
		o.TmpfsSize = isolation.TmpSize
	}
	return &Runtime{
		Line: line.New(o.Dial, o.Home, o.Log), opts: o, from: from, log: o.Log,
		pictures: map[plane.BackendID]*picture{}, sizes: map[plane.BackendID]size{}, stock: stock{}, kicked: make(chan struct{}, 1),
	}
}

// Close lets go of the warden. What runs runs on.
func (r *Runtime) Close() {
	r.Line.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.host != nil {
		r.host.close()
		r.host = nil
	}
}

// machine is what this machine has, looked at once.
func (r *Runtime) machine(ctx context.Context) (*host, *filter, error) {
	r.looking.Lock()
	defer r.looking.Unlock()
	r.mu.Lock()
	h, f := r.host, r.filter
	r.mu.Unlock()
	if h != nil {
		return h, f, nil
	}
	h, err := look(ctx, r.opts.Runtime)
	if err != nil {
		return nil, nil, err
	}
	if err := r.users(h); err != nil {
		h.close()
		return nil, nil, err
	}
	if f, err = newFilter(r.opts.CapAdd, filterDir(r.opts.Home), h.version); err != nil {
		h.close()
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.host, r.filter = h, f
	return h, f, nil
}

// users reports what stands in the way of sandboxes' own users.
func (r *Runtime) users(h *host) error {
	if r.opts.NoUserNS {
		return nil
	}
	if h.idmap == nil {
		return h.why
	}
	if s := r.opts.Images; s != nil && s.Shift() != image.UserNamespace {
		return errors.New("the images of this data directory were unpacked for sandboxes without users of their own; remove its directory images, they are pulled again")
	}
	return nil
}

// Prepare pulls the image.
func (r *Runtime) Prepare(ctx context.Context, u runtime.Unit, tell func(runtime.Progress)) (runtime.Prepared, error) {
	if u.Executable.Image == "" {
		return runtime.Prepared{}, errNoImage
	}
	if _, _, err := r.machine(ctx); err != nil {
		return runtime.Prepared{}, err
	}
	p, err := r.from.pull(ctx, u.Executable, tell)
	if err != nil {
		return runtime.Prepared{}, err
	}
	r.keep(u.Backend, p)
	return runtime.Prepared{Digest: p.digest}, nil
}

// mostKept is how many prepared starts are remembered that haven't come.
const mostKept = 1000

// keep remembers the image that a start will use.
func (r *Runtime) keep(id plane.BackendID, p *picture) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pictures) >= mostKept {
		clear(r.pictures) // such a start looks for its image again
	}
	r.pictures[id] = p
}

// picture is the image that was prepared for u, or what there is of it here.
func (r *Runtime) picture(ctx context.Context, u runtime.Unit) (*picture, error) {
	r.mu.Lock()
	p := r.pictures[u.Backend]
	delete(r.pictures, u.Backend)
	r.mu.Unlock()
	if p != nil {
		return p, nil
	}
	x := u.Executable
	if x.PullPolicy == plane.PullAlways {
		x.PullPolicy = plane.PullIfNotPresent
	}
	return r.from.pull(ctx, x, func(runtime.Progress) {})
}

// Start runs u. See runtime.Runtime.
func (r *Runtime) Start(ctx context.Context, u runtime.Unit) (runtime.Process, error) {
	if u.Executable.Image == "" {
		return nil, errNoImage
	}
	release, err := r.Alone(ctx, u.Backend)
	if err != nil {
		return nil, err
	}
	defer release()
	b := bundleOf(r.opts.Home, string(u.Backend))
	if b.exists() {
		if p, err := r.Attach(ctx, u.Backend); !errors.Is(err, runtime.ErrGone) {
			return p, err
		}
		if err := b.remove(r.opts.Home); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	r.active++
	r.mu.Unlock()
	p, err := r.launch(ctx, b, u)
	r.mu.Lock()
	r.active--
	r.mu.Unlock()
	r.kick()
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, errNoWay) {
			r.absent(ctx, u.Backend)
		}
		r.closeWay(context.WithoutCancel(ctx), u.Backend)
		r.drop(string(u.Backend))
		return nil, err
	}
	return p, nil
}

// absent waits until nothing of a start is left that was given up.
func (r *Runtime) absent(ctx context.Context, id plane.BackendID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := r.Ask(ctx, func(c *warden.Client) error {
		if err := c.Stop(ctx, id, plane.Hard); err != nil {
			return err
		}
		_, err := c.Wait(ctx, id)
		return err
	})
	if err != nil && !errors.Is(err, runtime.ErrGone) {
		r.log.Error("it isn't known whether a start that was given up has ended", "backend", id, "error", err)
	}
}

// drop removes what is kept of a backend or sandbox that doesn't run.
func (r *Runtime) drop(id string) {
	err := errors.Join(bundleOf(r.opts.Home, id).remove(r.opts.Home), r.from.release(id))
	if err != nil {
		r.log.Error("something of a backend is left", "backend", id, "error", err)
	}
}

// launch makes a bundle and has the warden run its container.
func (r *Runtime) launch(ctx context.Context, b bundle, u runtime.Unit) (runtime.Process, error) {
	image, err := r.picture(ctx, u)
	if err != nil {
		return nil, err
	}
	h, f, err := r.machine(ctx)
	if err != nil {
		return nil, err
	}
	held := make(chan error, 1)
	go func() { held <- r.from.hold(ctx, string(u.Backend), image.digest) }() // waits for the disk; received below
	p, err := r.take(ctx, image, u)
	if errors.Is(err, errSpent) {
		if p, err = r.run(ctx, h, f, b, image, u); err == nil {
			err = r.letOut(ctx, u, p.Pid())
		}
	}
	if bad := <-held; err == nil && bad != nil {
		r.log.Error("an image that is in use isn't held, so that it may be removed", "image", image.name, "error", bad)
	}
	return p, err
}

func (r *Runtime) run(ctx context.Context, h *host, f *filter, b bundle, image *picture, u runtime.Unit) (runtime.Process, error) {
	stage, err := r.build(h, f, b, image, u)
	if err != nil {
		return nil, err
	}
	defer stage.Close()
	o := r.order(h, u)
	launch := r.launcher(h, stage, b, string(u.Backend), false)
	o.Launch = &launch
	p, err := r.ask(ctx, o)
	if err != nil {
		return nil, explain(err, image.name)
	}
	if err := f.learn(filepath.Join(stateDir(r.opts.Home), string(u.Backend))); err != nil {
		r.log.Warn("the compiled list of system calls is not kept, so that starts take longer", "error", err)
	}
	return p, nil
}

func (r *Runtime) launcher(h *host, s *stage, b bundle, id string, control bool) warden.Launch {
	return warden.Launch{
		Argv: h.launch(stateDir(r.opts.Home), b, id, control), Mounts: s.name(),
		Env: []string{"PATH=" + defaultPath, sealed}, Dir: "/", PidFile: b.path(pidFile),
	}
}

// sealed tells crun that nothing can write to its own file, so that it doesn't
// execute itself again from where that is so. It looks whether it is true.
const sealed = "_LIBCONTAINER_CLONED_BINARY=1"

func (r *Runtime) order(h *host, u runtime.Unit) warden.Order {
	return warden.Order{
		Backend: u.Backend, Key: u.Key.Hash(), Generation: u.Generation, Policy: u.Policy, Epoch: u.Epoch,
		Deadline: u.Deadline, Grace: u.Grace, Port: r.port(u), Runtime: plane.RuntimeOCI,
		Executable: plane.Executable{Limits: r.limits(h, u.Executable.Limits)},
	}
}

func (r *Runtime) port(u runtime.Unit) int {
	switch {
	case u.Port != 0:
		return u.Port
	case u.Executable.Port != 0:
		return u.Executable.Port
	}
	return plane.DefaultImagePort
}

// ask has the warden start what o says.
func (r *Runtime) ask(ctx context.Context, o warden.Order) (runtime.Process, error) {
	b, err := r.Begin(ctx, o)
	if err != nil {
		return nil, err
	}
	return &process{Backend: b, r: r}, nil
}

// Found lists what runs and what ended and isn't forgotten.
func (r *Runtime) Found(ctx context.Context) ([]runtime.Found, error) {
	held, err := r.Held(ctx, plane.RuntimeOCI)
	var all []runtime.Found
	for _, b := range held {
		all = append(all, runtime.Found{Backend: b.Backend, Pid: b.Pid, Address: r.address(b), Exit: b.Exit})
	}
	return all, err
}

// Attach gives the process of one of Found.
func (r *Runtime) Attach(ctx context.Context, id plane.BackendID) (runtime.Process, error) {
	b, err := r.Hold(ctx, plane.RuntimeOCI, id)
	if err != nil {
		return nil, err
	}
	return &process{Backend: b, r: r}, nil
}

func (r *Runtime) address(b warden.Running) string {
	if b.Port == 0 {
		return ""
	}
	return plane.GateAddress{Socket: r.opts.Home.GateSocket(), Backend: b.Backend, Port: b.Port}.String()
}

// mark is the entry of a backend's environment by which its processes are found
// where there are no cgroups.
func (r *Runtime) mark(id plane.BackendID) string {
	return means.At(r.opts.Home.Hash(), "", r.log).MarkEnv(id)
}

func explain(err error, image string) error {
	if errors.Is(err, runtime.ErrDead) || errors.Is(err, runtime.ErrGone) || errors.Is(err, warden.ErrKeyInUse) {
		return err
	}
	return fmt.Errorf("image %s: %w", image, err)
}
