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
		return b.running(), b.failed
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
	return b.running(), nil
}

// bind notes the init of a guarded container.
func (w *warden) bind(id plane.BackendID, pid int) (Running, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.backends[id]
	if b == nil || !b.entry.Engine {
		return Running{}, ErrGone
	}
	start, ok := means.StartOf(pid)
	if !ok {
		return b.running(), nil // it has ended already; the engine tells how
	}
	if b.entry.Pid == pid && b.entry.Start == start {
		return b.running(), nil
	}
	b.entry = w.table.Bind(b.entry, pid, start)
	w.executioner.Look()
	return b.running(), nil
}

// release ends a guard: the engine has nothing of the backend any more.
func (w *warden) release(id plane.BackendID, exit plane.Exit) error {
	w.mu.Lock()
	b := w.backends[id]
	w.mu.Unlock()
	if b == nil {
		return nil // said twice
	}
	if !b.entry.Engine {
		return ErrGone
	}
	if exit.Signal == "SIGKILL" && exit.Output == "" {
		exit.Output = lastLines(b.out.dir)
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
	w.addLocked(b)
	w.mu.Unlock()
}
