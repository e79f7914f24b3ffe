package warden

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"plane"
	"plane/internal/drone/means"
)

// sandbox is a prepared one: its init waits on control. Whoever takes it out of
// warden.sandboxes sees to its end.
type sandbox struct {
	group means.Group
	agent int           // process of the agent that it is for
	ready chan struct{} // closed when it waits, or failed; what follows is set then

	failed   error
	identity means.Identity
	handle   *means.Handle
	pipe     *os.File           // its output
	control  *os.File           // closed, it ends
	claimed  context.CancelFunc // ends the vigil
}

// NewSandboxID makes the id of a sandbox.
func NewSandboxID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return means.Group(binary.NativeEndian.Uint64(b[:]) | 1<<63).String()
}

// prepare launches a sandbox, once per id, and keeps it until it is claimed or
// discarded. connected ends with the agent's connection.
func (w *warden) prepare(life, connected context.Context, agent int, s Sandbox) error {
	group, err := means.SandboxGroup(s.ID)
	if err != nil {
		return err
	}
	if !w.means.Cgroups() {
		return errors.New("prepared sandboxes need cgroups, which this system gives Plane none of")
	}
	w.mu.Lock()
	b := w.sandboxes[s.ID]
	if b != nil {
		w.mu.Unlock()
		<-b.ready
		return b.failed
	}
	b = &sandbox{group: group, agent: agent, ready: make(chan struct{})}
	w.sandboxes[s.ID] = b
	w.mu.Unlock()
	defer close(b.ready)
	if b.failed = w.launchSandbox(connected, b, s); b.failed != nil {
		w.take(s.ID, b)
		w.means.Kill(means.Identity{Group: group})
		w.clear(life, means.Identity{Group: group})
		return b.failed
	}
	vigil, claimed := context.WithCancel(life)
	b.claimed = claimed
	own := means.NewHandle(b.identity, b.handle.Duplicate())
	w.keepers.Go(func() {
		defer own.Close()
		defer claimed()
		if w.means.Ended(vigil, own) == nil && w.take(s.ID, b) {
			w.end(life, b)
		}
	})
	return nil
}

func (w *warden) launchSandbox(ctx context.Context, b *sandbox, s Sandbox) error {
	r, wr, err := newPipe()
	if err != nil {
		return err
	}
	defer wr.Close()
	end, control, err := newControl()
	if err != nil {
		_ = r.Close()
		return err
	}
	defer end.Close()
	p := means.Program{Executable: plane.Executable{Limits: s.Limits}, Output: wr, Control: end, Group: b.group}
	started, err := w.launchContainer(ctx, p, s.Launch, r)
	if err != nil {
		_, _ = r.Close(), control.Close()
		return err
	}
	b.identity, b.handle = started.Identity, means.NewHandle(started.Identity, started.Pidfd)
	b.pipe, b.control = r, control
	return nil
}

// take removes b from what can be claimed, and reports whether it was there.
func (w *warden) take(id string, b *sandbox) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sandboxes[id] != b {
		return false
	}
	delete(w.sandboxes, id)
	return true
}

// waiting gives a sandbox that can be claimed, nil if there is none of that id.
func (w *warden) waiting(id string) *sandbox {
	w.mu.Lock()
	b := w.sandboxes[id]
	w.mu.Unlock()
	if b == nil {
		return nil
	}
	select {
	case <-b.ready:
	default:
		return nil
	}
	if b.failed != nil || !w.take(id, b) {
		return nil
	}
	b.claimed()
	return b
}

// prepared lists those that an agent can claim.
func (w *warden) prepared(agent int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for id, b := range w.sandboxes {
		select {
		case <-b.ready:
			if b.agent == agent && b.failed == nil {
				all = append(all, id)
			}
		default:
		}
	}
	slices.Sort(all)
	return all
}

// discard makes sandboxes absent that wait, or are being made, and returns then.
func (w *warden) discard(ctx context.Context, ids []string) {
	for _, id := range ids {
		w.mu.Lock()
		b := w.sandboxes[id]
		delete(w.sandboxes, id)
		w.mu.Unlock()
		if b == nil {
			continue
		}
		w.means.Kill(means.Identity{Group: b.group}) // a launch that hangs ends too
		<-b.ready
		if b.failed == nil {
			b.claimed()
			w.end(ctx, b)
		}
	}
}

// discardOf ends what an agent prepared that is gone.
func (w *warden) discardOf(ctx context.Context, agent int) {
	var ids []string
	w.mu.Lock()
	for id, b := range w.sandboxes {
		if b.agent == agent {
			ids = append(ids, id)
		}
	}
	w.mu.Unlock()
	w.discard(ctx, ids)
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

// clear removes the cgroup of what was killed, once it is empty.
func (w *warden) clear(ctx context.Context, id means.Identity) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
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

// sweepSandboxes ends what a former warden had prepared: each ends by itself too,
// because its pipe has ended, but not what was being launched.
func (w *warden) sweepSandboxes(ctx context.Context) {
	claimed := map[means.Group]bool{}
	for _, e := range w.table.Entries() {
		claimed[means.Group(e.Group)] = true
	}
	for _, id := range w.means.Sandboxes() {
		if group, err := means.SandboxGroup(id); err == nil && !claimed[group] {
			w.means.Kill(means.Identity{Group: group})
			w.keepers.Go(func() { w.clear(ctx, means.Identity{Group: group}) })
		}
	}
}

// claim has a backend take over a sandbox: it is launch without launching. Its
// process is bound once it has been told all, so that one which ends because the
// warden died amid this isn't taken for a program that ended.
func (w *warden) claim(ctx context.Context, b *backend, o Order) (warnings []string, told *conn, err error) {
	if w.table.Clock().Now() >= o.Deadline {
		return nil, nil, ErrDead
	}
	s := w.waiting(o.Sandbox)
	if s == nil {
		return nil, nil, ErrNoSandbox
	}
	if b.entry, err = w.table.Claim(o.entry(s.group)); err != nil {
		w.end(ctx, s)
		return nil, nil, err
	}
	w.executioner.Look()
	w.heir.hold(held{Backend: b.id}, s.pipe, nil)
	if err = s.tell(w.means, o.Payload); err != nil {
		w.end(ctx, s)
		w.table.Clear(b.entry)
		w.heir.drop(b.id)
		return nil, nil, err
	}
	b.entry = w.table.Bind(b.entry, s.identity.Pid, s.identity.Start)
	b.handle, b.pipe = s.handle, s.pipe
	told = w.heir.hold(b.held(), b.pipe, b.handle)
	if b.entry.Dead {
		w.executioner.Look()
	}
	w.watch(ctx, b)
	return nil, told, nil
}

// payloadPatience is for an init that has been stopped; a live one reads at once.
const payloadPatience = time.Second

// tell writes a payload, and that nothing more comes. Without an error the
// sandbox has become the backend, for better or worse.
func (b *sandbox) tell(m *means.Means, payload []byte) error {
	if !m.Alive(b.identity) {
		return ErrNoSandbox
	}
	_ = b.control.SetWriteDeadline(time.Now().Add(payloadPatience))
	if _, err := b.control.Write(payload); err != nil {
		return fmt.Errorf("%w: %w", ErrNoSandbox, err)
	}
	_ = b.control.Close()
	return nil
}
