package warden

import (
	"context"
	"os"
	"sync"
	"time"

	"plane"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
)

// heir is the reaper as the warden sees it: what it holds survives the warden.
type heir struct {
	w *warden

	taking sync.Mutex // held while a new warden takes over

	mu   sync.Mutex // guards conn and the order of what is sent
	conn *conn
	lost chan struct{} // closed when conn breaks
}

// An heir that is stopped stops reading; it must not hold up starts.
const heirPatience = 100 * time.Millisecond

func newHeir(w *warden) *heir { return &heir{w: w} }

// keep starts a reaper whenever there is none, until ctx is done.
func (h *heir) keep(ctx context.Context) error {
	defer func() {
		h.mu.Lock()
		if h.conn != nil {
			h.conn.close()
		}
		h.mu.Unlock()
	}()
	const grace = time.Second // the reaper that started us connects by itself
	alone := time.Now().Add(grace)
	for {
		h.mu.Lock()
		lost := h.lost
		h.mu.Unlock()
		if lost != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-lost:
				alone = time.Now()
			}
		}
		if _, held := h.w.home.Holder("reaper"); !held && !time.Now().Before(alone) {
			h.w.log.Info("starting a reaper")
			h.start()
			alone = time.Now().Add(grace)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (h *heir) start() {
	forked := h.w.orphans.Starting()
	cmd, err := Spawn(h.w.home, "reaper", h.w.opts.Reaper)
	if err != nil {
		forked(0)
		h.w.log.Error("no reaper can be started", "error", err)
		return
	}
	forked(cmd.Process.Pid)
	go func() { // nobody waits for it: the reaper may well outlive this warden
		_ = cmd.Wait()
		h.w.orphans.Reaped(cmd.Process.Pid)
	}()
}

// serve takes a reaper: what it holds if the warden is new, then it is given
// everything.
func (h *heir) serve(ctx context.Context, c *conn, first hello, pid int) {
	c.patience = heirPatience
	all, ok := h.inventory(c)
	if !ok {
		return
	}
	h.taking.Lock()
	select {
	case <-h.w.established:
		discard(all)
	default:
		h.w.inherit(ctx, first.Instance, all)
	}
	h.taking.Unlock()
	lost := make(chan struct{})
	h.mu.Lock()
	if h.conn != nil {
		h.conn.close()
	}
	h.lost = lost
	h.attachLocked(c)
	h.mu.Unlock()
	h.w.log.Info("reaper connected", "pid", pid)
	for { // it says nothing more; the end is what counts
		if _, _, err := c.receive(); err != nil {
			break
		}
	}
	close(lost)
	h.mu.Lock()
	if h.lost == lost {
		h.conn, h.lost = nil, nil
	}
	h.mu.Unlock()
}

// legacy is what a reaper holds of one backend.
type legacy struct {
	held
	pipe, pidfd int // -1 = none
}

func discard(all []legacy) {
	for _, l := range all {
		closeAll([]int{l.pipe, l.pidfd})
	}
}

// inventory reads what the reaper holds.
func (h *heir) inventory(c *conn) ([]legacy, bool) {
	var all []legacy
	for {
		m, fds, err := c.receive()
		if err != nil {
			discard(all)
			return nil, false
		}
		if m.Type == typeAll {
			return all, true
		}
		if m.Held != nil {
			pipe, pidfd := m.Held.take(fds)
			all = append(all, legacy{*m.Held, pipe, pidfd})
		}
	}
}

// take names the descriptors that came with h.
func (h held) take(fds []int) (pipe, pidfd int) {
	pipe, pidfd = -1, -1
	if h.Pipe && len(fds) > 0 {
		pipe, fds = fds[0], fds[1:]
	}
	if h.Pidfd && len(fds) > 0 {
		pidfd = fds[0]
	}
	return pipe, pidfd
}

func (h *heir) tell(m *message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tellLocked(m)
}

func (h *heir) tellLocked(m *message, fds ...int) {
	if h.conn == nil {
		return
	}
	if err := h.conn.send(m, fds...); err != nil {
		h.w.log.Warn("the reaper doesn't take what it should hold; trying again when it connects", "error", err)
		h.conn = nil // serve notices the broken connection and closes lost
	}
}

// attachLocked gives everything to a reaper. Those that are just starting tell
// it themselves, with hold and catchUp.
func (h *heir) attachLocked(c *conn) {
	h.conn = c
	h.tellAllLocked()
}

// hold gives the reaper duplicates, and says over which connection, nil for none.
// Once it returns they are the reaper's, even if it hasn't read them yet.
func (h *heir) hold(what held, pipe *os.File, handle *means.Handle) (told *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holdLocked(what, pipe, handle)
	return h.conn
}

// catchUp gives the reaper a backend that has started, unless it was told of it
// all: it may have connected meanwhile, and left it to its start.
func (h *heir) catchUp(b *backend, told *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == told {
		return
	}
	if _, there := h.w.table.Find(b.id); there { // else it has ended, and the heir was told to let go
		h.holdLocked(b.held(), b.pipe, b.handle)
	}
}

func (h *heir) holdLocked(what held, pipe *os.File, handle *means.Handle) {
	if h.conn == nil {
		return
	}
	var fds []int
	if pipe != nil {
		if fd := means.Duplicate(pipe); fd >= 0 {
			what.Pipe, fds = true, append(fds, fd)
		}
	}
	if handle != nil {
		if fd := handle.Duplicate(); fd >= 0 {
			what.Pidfd, fds = true, append(fds, fd)
		}
	}
	h.tellLocked(&message{Type: typeHeld, Held: &what}, fds...)
	closeAll(fds)
}

func (h *heir) drop(id plane.BackendID) { h.tell(&message{Type: typeDrop, Backend: id}) }

func (h *heir) tellAllLocked() {
	h.w.mu.Lock()
	instance := h.w.instance
	all := make([]*backend, 0, len(h.w.backends))
	for _, b := range h.w.backends {
		all = append(all, b)
	}
	h.w.mu.Unlock()
	h.tellLocked(&message{Type: typeBegin, Instance: instance})
	for _, b := range all {
		select {
		case <-b.started:
			if b.failed == nil && !b.entry.Engine { // of a guard there is nothing to hold
				h.holdLocked(b.held(), b.pipe, b.handle)
			}
		default: // its start is about to tell
			h.w.log.Debug("left to its start", "backend", b.id)
		}
	}
	h.tellLocked(&message{Type: typeAll})
}

// inherit takes over from a former warden, whose backends the reaper held, or
// begins anew. Anew means that nobody watched for a while: everything that is
// found is killed, because its lease may have gone to another machine.
func (w *warden) inherit(ctx context.Context, instance string, all []legacy) {
	if instance == "" {
		discard(all)
		w.raze(ctx)
		if ctx.Err() == nil {
			w.establish(newInstance())
		}
		return
	}
	known := map[plane.BackendID]legacy{}
	for _, l := range all {
		known[l.Backend] = l
	}
	for _, e := range w.table.Entries() {
		l, ok := known[e.Backend]
		if !ok {
			l.pipe, l.pidfd = -1, -1
		}
		delete(known, e.Backend)
		w.adopt(ctx, e, l)
	}
	for _, l := range known { // ended, and cleared by the former warden
		discard([]legacy{l})
	}
	w.sweepSandboxes(ctx)
	w.log.Info("took over from the former warden", "backends", len(w.table.Entries()))
	w.establish(instance)
}

// adopt goes on with a backend of the former warden. One whose first process
// isn't in the table was about to be started: what there is of it is killed.
func (w *warden) adopt(ctx context.Context, e table.Entry, l legacy) {
	if e.Engine {
		discard([]legacy{l})
		w.guard(e)
		return
	}
	b := w.newBackend(e.Backend, e.Key, e.Port)
	b.entry = e
	close(b.started)
	if l.pipe >= 0 {
		b.pipe = adoptPipe(l.pipe)
	}
	id := identity(e)
	switch {
	case l.pidfd >= 0:
		b.handle = means.NewHandle(id, l.pidfd)
	case e.Pid != 0:
		if b.handle = w.means.OpenHandle(id); b.handle == nil {
			b.handle = means.NewHandle(id, -1) // gone already; keep sees that at once
		}
	}
	w.mu.Lock()
	w.addLocked(b)
	w.mu.Unlock()
	w.watch(ctx, b)
}

// raze ends everything of this data directory and returns when nothing is left.
func (w *warden) raze(ctx context.Context) {
	pause := time.Millisecond
	for round := 0; ctx.Err() == nil; round++ {
		var ids []means.Identity
		for _, e := range w.table.Entries() {
			if e.Engine { // only the engine tells that nothing of it is left
				w.table.Shorten(e.Backend, 0)
				w.guard(e)
				continue
			}
			id := identity(e)
			if pids, err := w.means.Procs(id); err == nil && len(pids) == 0 {
				w.razed(e)
				continue
			}
			ids = append(ids, id)
		}
		ids = append(ids, w.means.Strays()...)
		if len(ids) == 0 {
			w.bury()
			w.sweepSandboxes(ctx)
			return
		}
		if round%100 == 0 {
			w.log.Warn("ending what nobody watched", "backends", len(ids))
		}
		w.means.Kill(ids...)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}

func (w *warden) razed(e table.Entry) {
	w.recordLost(e.Backend)
	w.table.Clear(e)
	w.means.Clean(identity(e))
}

// bury gives an exit to backends that left only output, because the machine
// went down under them: so they are found, and forgotten in time.
func (w *warden) bury() {
	entries, _ := os.ReadDir(w.home.OutputDir())
	for _, e := range entries {
		if id := plane.BackendID(e.Name()); id.Check() == nil {
			w.recordLost(id)
		}
	}
}

// recordLost notes the end of a backend that nobody saw, unless it is noted.
func (w *warden) recordLost(id plane.BackendID) {
	dir := backendDir(w.home, id)
	if _, ok := readRecord(dir, exitFile); !ok {
		exit, ok := readRecord(dir, statusFile)
		if !ok {
			exit = plane.Exit{Message: "Its watchers had all ended, or the machine; nothing of it was left running."}
		}
		exit.Output = lastLines(dir)
		if err := writeRecord(dir, exitFile, exit); err != nil {
			w.log.Error("an exit status is not on disk", "backend", id, "error", err)
		}
	}
	w.mu.Lock()
	w.ended[id] = true
	w.mu.Unlock()
}
