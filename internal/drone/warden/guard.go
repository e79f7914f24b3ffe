package warden

import (
	"plane"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
)

// guardOrder makes the entry of a container before its engine is asked to start
// it, once per backend.
func (w *warden) guardOrder(o Order) (Running, error) {
	if w.table.Clock().Now() >= o.Deadline {
		return Running{}, ErrDead
	}
	w.mu.Lock()
	b, ended := w.backends[o.Backend], w.ended[o.Backend]
	_, refused := w.refused[o.Backend]
	_, taken := w.keys[o.Key]
	switch {
	case b != nil:
		w.mu.Unlock()
		<-b.started
		return w.running(b), b.failed
	case ended:
		w.mu.Unlock()
		return w.remembered(o.Backend), nil
	case refused:
		w.mu.Unlock()
		return Running{}, ErrGone
	case taken && o.Key != "":
		w.mu.Unlock()
		return Running{}, ErrKeyInUse
	}
	b = w.newBackend(o.Backend, o.Key, o.Port)
	w.addLocked(b)
	w.mu.Unlock()
	defer close(b.started)
	e := o.entry(means.NoGroup)
	e.Engine = true
	if b.entry, b.failed = w.table.Claim(e); b.failed != nil {
		w.mu.Lock()
		w.removeLocked(b)
		w.mu.Unlock()
		return Running{}, b.failed
	}
	w.executioner.Look()
	return w.running(b), nil
}

// bind notes the init of a guarded container.
func (w *warden) bind(id plane.BackendID, pid int) (Running, error) {
	b := w.guarded(id)
	if b == nil {
		return Running{}, ErrGone
	}
	start, ok := means.StartOf(pid)
	if !ok {
		return w.running(b), nil // it has ended already; the engine tells how
	}
	w.mu.Lock()
	if w.backends[id] == b { // else its slot may be another one's
		w.table.Bind(b.entry, pid, start)
	}
	w.mu.Unlock()
	w.executioner.Look()
	return w.running(b), nil
}

// guarded gives a guard, nil if there is none.
func (w *warden) guarded(id plane.BackendID) *backend {
	w.mu.Lock()
	b := w.backends[id]
	w.mu.Unlock()
	if b == nil {
		return nil
	}
	<-b.started
	if b.failed != nil || !b.entry.Engine {
		return nil
	}
	return b
}

// release ends a guard: the engine has nothing of the backend any more.
func (w *warden) release(id plane.BackendID, exit plane.Exit) error {
	b := w.guarded(id)
	if b == nil {
		return nil // said twice
	}
	noteRuntime(b.out.dir, b.entry.Runtime)
	if err := writeRecord(b.out.dir, exitFile, exit); err != nil {
		w.log.Error("an exit status is not on disk", "backend", id, "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.backends[id] != b {
		return nil
	}
	w.table.Clear(b.entry)
	b.exit = exit
	w.removeLocked(b)
	w.ended[id] = true
	close(b.ended)
	return nil
}

// guard goes on with the entry of a container that a former warden made: until
// its release the executioners see to its deadline.
func (w *warden) guard(e table.Entry) {
	b := w.newBackend(e.Backend, e.Key, e.Port)
	b.entry = e
	close(b.started)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.backends[e.Backend] == nil {
		w.addLocked(b)
	}
}
