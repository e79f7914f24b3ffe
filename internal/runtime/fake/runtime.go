// Package fake is a runtime whose backends are listeners in this process. Its
// zero value works: every program listens at once and ends when it is asked to.
package fake

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"plane"
	"plane/internal/runtime"
)

// Program is how one backend behaves.
type Program struct {
	Mute        bool          // it never listens
	ListenAfter time.Duration // when it begins to listen
	ExitAfter   time.Duration // when it ends by itself; 0 = never
	ExitCode    int           // with which it ends by itself
	IgnoreTerm  bool          // SIGTERM does nothing
	Everywhere  bool          // it is found listening on all interfaces
}

// Runtime runs fake backends. They outlive whoever started them, as those of a
// real runtime outlive the agent; Close ends them all.
type Runtime struct {
	Clock   func() plane.Instant       // nil = deadlines are not enforced
	Program func(runtime.Unit) Program // nil = the zero Program

	// Called first by the methods of their names, if set; an error is returned.
	OnPrepare func(context.Context, runtime.Unit) error
	OnStart   func(context.Context, runtime.Unit) error
	OnFound   func(context.Context) error
	OnStop    func(plane.BackendID, plane.StopKind) error
	OnWait    func(plane.BackendID) error

	mu        sync.Mutex // guards the fields below
	processes map[plane.BackendID]*Process
	starts    map[plane.BackendID]int
}

// Prepare has nothing to fetch.
func (r *Runtime) Prepare(ctx context.Context, u runtime.Unit, _ func(runtime.Progress)) (runtime.Prepared, error) {
	if r.OnPrepare != nil {
		return runtime.Prepared{}, r.OnPrepare(ctx, u)
	}
	return runtime.Prepared{}, nil
}

// Start begins to listen on the unit's port.
func (r *Runtime) Start(ctx context.Context, u runtime.Unit) (runtime.Process, error) {
	if r.OnStart != nil {
		if err := r.OnStart(ctx, u); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.processes[u.Backend]; p != nil {
		return p, nil
	}
	if r.Clock != nil && r.Clock() >= u.Deadline {
		return nil, runtime.ErrDead
	}
	var program Program
	if r.Program != nil {
		program = r.Program(u)
	}
	p := newProcess(r, u, program)
	if r.processes == nil {
		r.processes, r.starts = map[plane.BackendID]*Process{}, map[plane.BackendID]int{}
	}
	r.processes[u.Backend] = p
	r.starts[u.Backend]++
	p.begin()
	return p, nil
}

// Found lists what runs or waits to be forgotten, by id.
func (r *Runtime) Found(ctx context.Context) ([]runtime.Found, error) {
	if r.OnFound != nil {
		if err := r.OnFound(ctx); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.Found
	for id, p := range r.processes {
		f := runtime.Found{Backend: id, Address: p.Address()}
		if exit, ended := p.exit(); ended {
			f.Exit = &exit
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b runtime.Found) int { return cmp.Compare(a.Backend, b.Backend) })
	return out, nil
}

// Attach gives a process that is found.
func (r *Runtime) Attach(_ context.Context, id plane.BackendID) (runtime.Process, error) {
	if p := r.process(id); p != nil {
		return p, nil
	}
	return nil, runtime.ErrGone
}

// Output is what the backend's Write was given.
func (r *Runtime) Output(ctx context.Context, id plane.BackendID, tail int, follow bool) (io.ReadCloser, error) {
	p := r.process(id)
	if p == nil {
		return nil, runtime.ErrGone
	}
	return p.output.reader(ctx, tail, follow), nil
}

func (r *Runtime) process(id plane.BackendID) *Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.processes[id]
}

// Extend moves the deadline of the backends of that policy and epoch, as a
// table of deadlines does: only from one that hasn't passed, only later.
func (r *Runtime) Extend(policy plane.Policy, epoch int64, until plane.Instant) int {
	n := 0
	for _, p := range r.all() {
		if p.unit.Policy == policy && p.unit.Epoch == epoch && p.extend(until) {
			n++
		}
	}
	return n
}

// Shorten makes until the last deadline of a backend and reports whether there
// is such a backend.
func (r *Runtime) Shorten(id plane.BackendID, until plane.Instant) bool {
	p := r.process(id)
	if p != nil {
		p.shorten(until)
	}
	return p != nil
}

func (r *Runtime) all() []*Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*Process, 0, len(r.processes))
	for _, p := range r.processes {
		out = append(out, p)
	}
	return out
}

// Running lists the ids of what runs.
func (r *Runtime) Running() []plane.BackendID {
	var ids []plane.BackendID
	for _, p := range r.all() {
		if _, ended := p.exit(); !ended {
			ids = append(ids, p.unit.Backend)
		}
	}
	slices.Sort(ids)
	return ids
}

// Kept lists the ids of what runs or waits to be forgotten.
func (r *Runtime) Kept() []plane.BackendID {
	var ids []plane.BackendID
	for _, p := range r.all() {
		ids = append(ids, p.unit.Backend)
	}
	slices.Sort(ids)
	return ids
}

// Starts is how often the backend was really started.
func (r *Runtime) Starts(id plane.BackendID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts[id]
}

// Looks is how often somebody looked at what the backend listens on.
func (r *Runtime) Looks(id plane.BackendID) int {
	p := r.process(id)
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.looks
}

// Unit is what the backend was started with.
func (r *Runtime) Unit(id plane.BackendID) (runtime.Unit, bool) {
	if p := r.process(id); p != nil {
		return p.unit, true
	}
	return runtime.Unit{}, false
}

// Deadline is the backend's current one.
func (r *Runtime) Deadline(id plane.BackendID) plane.Instant {
	if p := r.process(id); p != nil {
		return p.deadline()
	}
	return 0
}

// Kill ends a backend behind everybody's back.
func (r *Runtime) Kill(id plane.BackendID, exit plane.Exit) {
	if p := r.process(id); p != nil {
		p.end(exit)
	}
}

// Lose ends a backend and drops all memory of it.
func (r *Runtime) Lose(id plane.BackendID) {
	r.Kill(id, plane.Exit{})
	r.forget(id)
}

// Write appends to a backend's output.
func (r *Runtime) Write(id plane.BackendID, text string) {
	if p := r.process(id); p != nil {
		p.output.write(text)
	}
}

// Close ends everything and waits for the goroutines.
func (r *Runtime) Close() {
	for _, p := range r.all() {
		p.end(plane.Exit{})
		p.wg.Wait()
	}
}

func (r *Runtime) forget(id plane.BackendID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.processes, id)
}
