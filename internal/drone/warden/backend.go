package warden

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"plane"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
)

// backend is one that runs. What is set before started is closed doesn't change
// afterwards.
type backend struct {
	id      plane.BackendID
	key     string
	port    int
	started chan struct{}
	failed  error // set if it never ran

	entry  table.Entry
	handle *means.Handle // nil if its first process isn't known
	pipe   *os.File      // nil if its output is lost
	out    *output
	drains chan struct{} // closed when pipe has ended

	ended chan struct{}
	exit  plane.Exit // set before ended is closed
}

// running is what is told of a backend: an engine's container gets its process
// after its start.
func (w *warden) running(b *backend) Running {
	e := b.entry
	if now, ok := w.table.Live(e); ok && e.Engine {
		e = now
	}
	return Running{
		Backend: b.id, Pid: e.Pid, Start: e.Start, Group: means.Group(e.Group), Port: b.port,
		Engine: e.Engine, Runtime: e.Runtime,
	}
}

// start runs an order, once per id.
func (w *warden) start(ctx context.Context, o Order) (Running, []string, error) {
	w.mu.Lock()
	if b := w.backends[o.Backend]; b != nil {
		w.mu.Unlock()
		<-b.started
		return w.running(b), nil, b.failed
	}
	if w.ended[o.Backend] {
		w.mu.Unlock()
		return w.remembered(o.Backend), nil, nil
	}
	if _, ok := w.refused[o.Backend]; ok {
		w.mu.Unlock()
		return Running{}, nil, ErrGone
	}
	if _, ok := w.keys[o.Key]; ok && o.Key != "" {
		w.mu.Unlock()
		return Running{}, nil, ErrKeyInUse
	}
	b := w.newBackend(o.Backend, o.Key, o.Port)
	w.addLocked(b)
	w.mu.Unlock()
	launch := w.launch
	if o.Sandbox != "" {
		launch = w.claim
	}
	warnings, told, err := launch(ctx, b, o)
	if err != nil {
		b.failed = err
		w.mu.Lock()
		w.removeLocked(b)
		w.mu.Unlock()
	}
	close(b.started)
	if err == nil {
		w.heir.catchUp(b, told)
	}
	return w.running(b), warnings, err
}

func (w *warden) newBackend(id plane.BackendID, key string, port int) *backend {
	return &backend{
		id: id, key: key, port: port, started: make(chan struct{}), out: &output{dir: backendDir(w.home, id)},
		drains: make(chan struct{}), ended: make(chan struct{}),
	}
}

func (w *warden) addLocked(b *backend) {
	w.backends[b.id] = b
	if b.key != "" {
		w.keys[b.key] = b.id
	}
	w.touchLocked()
}

func (w *warden) removeLocked(b *backend) {
	delete(w.backends, b.id)
	if w.keys[b.key] == b.id {
		delete(w.keys, b.key)
	}
	w.touchLocked()
}

// launch makes the entry and tells the heir before anything runs, so that at no
// instant there is a process that nobody else could end. told is the heir that
// knows all of it.
func (w *warden) launch(ctx context.Context, b *backend, o Order) (warnings []string, told *conn, err error) {
	if w.table.Clock().Now() >= o.Deadline {
		return nil, nil, ErrDead
	}
	r, wr, err := newPipe()
	if err != nil {
		return nil, nil, err
	}
	defer wr.Close()
	defer func() {
		if err != nil {
			_ = r.Close()
		}
	}()
	program := w.program(o, wr)
	if o.Executable.Listen == plane.ListenInherit {
		if program.Listener, err = listen(o.Port); err != nil {
			return nil, nil, err
		}
		defer program.Listener.Close()
	}
	if b.entry, err = w.table.Claim(o.entry(program.Group)); err != nil {
		return nil, nil, err
	}
	w.executioner.Look()
	w.heir.hold(held{Backend: b.id}, r, nil)
	var s means.Started
	if o.Launch != nil {
		s, err = w.launchContainer(ctx, program, *o.Launch, r)
	} else {
		forked := w.orphans.Starting()
		s, err = w.means.Start(program)
		forked(s.Identity.Pid)
	}
	if err != nil {
		if o.Launch != nil { // it may have made something, and that must be gone before the key is free
			w.clear(ctx, program.Identity())
		}
		w.table.Clear(b.entry)
		w.means.Clean(program.Identity())
		w.heir.drop(b.id)
		return s.Warnings, nil, err
	}
	b.entry = w.table.Bind(b.entry, s.Identity.Pid, s.Identity.Start)
	b.handle = means.NewHandle(s.Identity, s.Pidfd)
	b.pipe = r
	// The pipe again: the heir may be another one than before the start, and without
	// it a warden's death would break the backend's output.
	told = w.heir.hold(b.held(), r, b.handle)
	if b.entry.Dead {
		w.executioner.Look()
	}
	w.watch(ctx, b)
	return s.Warnings, told, nil
}

func (b *backend) held() held {
	return held{Backend: b.id, Pid: b.entry.Pid, Start: b.entry.Start, Group: means.Group(b.entry.Group)}
}

// program is what an order runs itself.
func (w *warden) program(o Order, output *os.File) means.Program {
	p := means.Program{
		Backend: o.Backend, Executable: o.Executable, Env: o.Env, Output: output,
		Trouble: filepath.Join(backendDir(w.home, o.Backend), troubleFile),
	}
	if w.means.Cgroups() {
		p.Group = means.OwnGroup
	}
	return p
}

// entry is an order's entry in the table.
func (o Order) entry(g means.Group) table.Entry {
	return table.Entry{
		Backend: o.Backend, Key: o.Key, Generation: o.Generation, Policy: o.Policy, Epoch: o.Epoch,
		Deadline: o.Deadline, Grace: o.Grace, Port: o.Port, Group: uint64(g), Runtime: o.Runtime,
	}
}

func listen(port int) (*os.File, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // the program should find what it would have made itself
	l, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen on port %d for the program: %w", port, err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("listen on port %d for the program: %w", port, err)
	}
	return f, nil
}

// watch keeps a backend until its end. If the warden ends first, both
// goroutines leave everything to the next one. entry and handle must be set.
func (w *warden) watch(ctx context.Context, b *backend) {
	if b.pipe == nil {
		close(b.drains)
	} else {
		w.keepers.Go(func() {
			defer close(b.drains)
			drain(ctx, b.pipe, b.out, func(err error) {
				w.log.Error("output of a backend is lost", "backend", b.id, "error", err)
			})
		})
	}
	w.keepers.Go(func() { w.keep(ctx, b) })
}

// keep waits for the end of the first process, makes the rest absent, and only
// then says that the backend ended.
func (w *warden) keep(ctx context.Context, b *backend) {
	if b.handle == nil {
		w.settle(ctx, identity(b.entry))
	} else if w.means.Ended(ctx, b.handle) != nil {
		return
	}
	exit, mine := w.status(ctx, b)
	if !w.absent(ctx, b) {
		return
	}
	select {
	case <-b.drains:
	case <-time.After(time.Second): // someone outside holds the pipe open
	case <-ctx.Done():
		return
	}
	dir := b.out.dir
	if b, err := os.ReadFile(filepath.Join(dir, troubleFile)); err == nil {
		exit = plane.Exit{Message: string(b)} // what ended was the shell before it
	}
	exit.Output = lastLines(dir)
	noteRuntime(dir, b.entry.Runtime)
	exit.OOM = exit.Signal == "SIGKILL" && w.means.OutOfMemory(identity(b.entry))
	if err := writeRecord(dir, exitFile, exit); err != nil {
		w.log.Error("an exit status is not on disk", "backend", b.id, "error", err)
	}
	w.table.Clear(b.entry)
	if mine {
		w.means.Reap(b.entry.Pid)
		w.orphans.Reaped(b.entry.Pid)
	}
	w.heir.drop(b.id)
	w.means.Clean(identity(b.entry))
	if b.handle != nil {
		b.handle.Close()
	}
	if b.pipe != nil {
		_ = b.pipe.Close()
	}
	b.out.close()
	b.exit = exit
	w.mu.Lock()
	w.removeLocked(b)
	w.ended[b.id] = true
	w.mu.Unlock()
	close(b.ended)
}

// settle kills what a former warden may just have forked: a child that hasn't
// executed its program yet carries no marker, so the look is repeated.
func (w *warden) settle(ctx context.Context, id means.Identity) {
	for range 5 {
		w.means.Kill(id)
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// absent returns true when nothing of the backend is left. What is left of one
// that was asked to end gets the rest of its grace.
func (w *warden) absent(ctx context.Context, b *backend) bool {
	until := time.Now()
	if e, ok := w.table.Live(b.entry); ok && e.Softened {
		until = until.Add(e.Grace)
	}
	pause := time.Millisecond
	for {
		pids, err := w.means.Procs(identity(b.entry))
		if err == nil && len(pids) == 0 {
			return true
		}
		if err != nil {
			w.log.Error("processes of a backend can't be listed", "backend", b.id, "error", err)
		}
		if time.Now().After(until) {
			w.means.Kill(identity(b.entry))
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}

// strangerStatus is how long to wait for word of a process that isn't our child.
const strangerStatus = 500 * time.Millisecond

// status tells how the first process ended. If an heir is its parent, the
// heir's note tells it.
func (w *warden) status(ctx context.Context, b *backend) (exit plane.Exit, mine bool) {
	for end := time.Now().Add(strangerStatus); ; {
		gone := b.handle != nil && !w.means.There(identity(b.entry)) // before looking for a note, which comes first
		if b.handle != nil {
			if exit, mine, known := w.means.Status(b.handle); known {
				return exit, mine
			}
		}
		for _, name := range []string{exitFile, statusFile} {
			if exit, ok := readRecord(b.out.dir, name); ok {
				return exit, false
			}
		}
		if b.handle == nil {
			return plane.Exit{Message: "Plane's warden ended while this backend started."}, false
		}
		if gone || time.Now().After(end) {
			return plane.Exit{Message: "Its exit status is unknown: the processes that watched it were replaced."}, false
		}
		select {
		case <-ctx.Done():
			return plane.Exit{}, false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// remembered is a backend that ended.
func (w *warden) remembered(id plane.BackendID) Running {
	dir := backendDir(w.home, id)
	exit, _ := readRecord(dir, exitFile)
	return Running{Backend: id, Exit: &exit, Runtime: readRuntime(dir)}
}
