package warden

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"plane"
	"plane/internal/drone/means"
)

// sandbox is a prepared one: its init waits on control.
type sandbox struct {
	identity means.Identity
	handle   *means.Handle
	pipe     *os.File // its output
	control  *os.File // closed, it ends
}

// NewSandboxID makes the id of a sandbox.
func NewSandboxID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return means.Group(binary.NativeEndian.Uint64(b[:]) | 1<<63).String()
}

// prepare launches a sandbox and keeps it until it is claimed or discarded.
func (w *warden) prepare(ctx context.Context, s Sandbox) error {
	group, err := means.SandboxGroup(s.ID)
	if err != nil {
		return err
	}
	if !w.means.Cgroups() {
		return fmt.Errorf("prepared sandboxes need cgroups, which this system gives Plane none of")
	}
	r, wr, err := newPipe()
	if err != nil {
		return err
	}
	defer wr.Close()
	end, control, err := os.Pipe()
	if err != nil {
		_ = r.Close()
		return fmt.Errorf("make pipe: %w", err)
	}
	defer end.Close()
	p := means.Program{
		Executable: plane.Executable{Limits: s.Limits}, Output: wr, Control: end, Group: group,
		Trouble: filepath.Join(w.home.OutputDir(), "."+s.ID),
	}
	defer os.Remove(p.Trouble)
	started, err := w.launchContainer(ctx, p, s.Launch, r)
	if err != nil {
		_, _ = r.Close(), control.Close()
		w.means.Kill(p.Identity())
		w.means.Clean(p.Identity())
		return err
	}
	b := &sandbox{identity: started.Identity, handle: means.NewHandle(started.Identity, started.Pidfd), pipe: r, control: control}
	w.mu.Lock()
	unwanted := len(w.agents) == 0
	if !unwanted {
		w.sandboxes[s.ID] = b
	}
	w.mu.Unlock()
	if unwanted {
		w.end(ctx, b)
	}
	return nil
}

// takeSandbox removes it from those that can be claimed.
func (w *warden) takeSandbox(id string) *sandbox {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.sandboxes[id]
	delete(w.sandboxes, id)
	return b
}

// prepared lists those that can be claimed.
func (w *warden) prepared() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.sandboxes))
}

// discardSandboxes ends those that nobody can claim any more.
func (w *warden) discardSandboxes(ctx context.Context) {
	w.mu.Lock()
	all := w.sandboxes
	w.sandboxes = map[string]*sandbox{}
	w.mu.Unlock()
	for _, b := range all {
		w.keepers.Go(func() { w.end(ctx, b) })
	}
}

// end makes a sandbox absent.
func (w *warden) end(ctx context.Context, b *sandbox) {
	_ = b.control.Close()
	w.means.Kill(b.identity)
	_ = w.means.Ended(ctx, b.handle)
	w.means.Reap(b.identity.Pid)
	w.orphans.Reaped(b.identity.Pid)
	b.handle.Close()
	_ = b.pipe.Close()
	w.clear(ctx, b.identity)
}

// clear removes the cgroup of what was killed.
func (w *warden) clear(ctx context.Context, id means.Identity) {
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		if pids, err := w.means.Procs(id); err == nil && len(pids) == 0 {
			break
		}
		w.means.Kill(id)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	w.means.Clean(id)
}

// sweepSandboxes ends what a former warden had prepared; it ends by itself too.
func (w *warden) sweepSandboxes(ctx context.Context) {
	claimed := map[string]bool{}
	for _, e := range w.table.Entries() {
		claimed[means.Group(e.Group).String()] = true
	}
	for _, id := range w.means.Sandboxes() {
		if group, err := means.SandboxGroup(id); err == nil && !claimed[id] {
			w.means.Kill(means.Identity{Group: group})
			w.keepers.Go(func() { w.clear(ctx, means.Identity{Group: group}) })
		}
	}
}

// claim has a backend take over a sandbox: it is launch without launching.
func (w *warden) claim(ctx context.Context, b *backend, o Order) (warnings []string, told *conn, err error) {
	if w.table.Clock().Now() >= o.Deadline {
		return nil, nil, ErrDead
	}
	s := w.takeSandbox(o.Sandbox)
	if s == nil {
		return nil, nil, ErrNoSandbox
	}
	defer func() {
		if err != nil {
			w.keepers.Go(func() { w.end(ctx, s) })
		}
	}()
	if !w.means.Alive(s.identity) {
		return nil, nil, ErrNoSandbox
	}
	entry, err := w.table.Claim(o.entry(s.identity.Group))
	if err != nil {
		return nil, nil, err
	}
	b.entry = w.table.Bind(entry, s.identity.Pid, s.identity.Start)
	b.handle, b.pipe = s.handle, s.pipe
	w.executioner.Look()
	told = w.heir.hold(b.held(), b.pipe, b.handle)
	_ = s.control.SetWriteDeadline(time.Now().Add(payloadPatience))
	if _, err = s.control.Write(o.Payload); err != nil {
		w.table.Clear(b.entry)
		w.heir.drop(b.id)
		return nil, nil, fmt.Errorf("%w: %w", ErrNoSandbox, err)
	}
	_ = s.control.Close()
	w.watch(ctx, b)
	return nil, told, nil
}

// payloadPatience is for an init that has been stopped; a live one reads at once.
const payloadPatience = time.Second
