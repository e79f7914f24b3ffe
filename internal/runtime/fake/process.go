package fake

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"plane"
	"plane/internal/runtime"
)

// Process is one fake backend.
type Process struct {
	runtime *Runtime
	unit    runtime.Unit
	program Program
	output  output
	done    chan struct{}
	wg      sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	listener net.Listener
	until    plane.Instant
	final    bool
	ended    *plane.Exit
	looks    int
}

const deadlinePoll = 5 * time.Millisecond

func newProcess(r *Runtime, u runtime.Unit, p Program) *Process {
	return &Process{runtime: r, unit: u, program: p, until: u.Deadline, done: make(chan struct{})}
}

func (p *Process) begin() {
	if !p.program.Mute {
		if p.program.ListenAfter == 0 {
			p.listen()
		} else {
			p.after(p.program.ListenAfter, p.listen)
		}
	}
	if p.program.ExitAfter > 0 {
		code := p.program.ExitCode
		p.after(p.program.ExitAfter, func() { p.end(plane.Exit{Code: &code}) })
	}
	if p.runtime.Clock != nil {
		p.wg.Go(p.execute)
	}
}

func (p *Process) after(d time.Duration, do func()) {
	p.wg.Go(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			do()
		case <-p.done:
		}
	})
}

// execute enforces the deadline.
func (p *Process) execute() {
	t := time.NewTicker(deadlinePoll)
	defer t.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-t.C:
		}
		if p.runtime.Clock() >= p.deadline() {
			p.kill("SIGKILL", 137)
			return
		}
	}
}

func (p *Process) listen() {
	l, err := net.Listen("tcp", p.Address())
	if err != nil {
		p.output.write("listen: " + err.Error() + "\n")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		_ = l.Close()
		return
	}
	p.listener = l
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			_ = c.Close()
		}
	})
}

func (p *Process) end(exit plane.Exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		return
	}
	p.ended = &exit
	if p.listener != nil {
		_ = p.listener.Close()
	}
	p.output.close()
	close(p.done)
}

func (p *Process) kill(signal string, code int) { p.end(plane.Exit{Code: &code, Signal: signal}) }

func (p *Process) exit() (plane.Exit, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == nil {
		return plane.Exit{}, false
	}
	return *p.ended, true
}

func (p *Process) deadline() plane.Instant {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until
}

func (p *Process) extend(until plane.Instant) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.final || p.ended != nil || until <= p.until || p.runtime.Clock != nil && p.runtime.Clock() >= p.until {
		return false
	}
	p.until = until
	return true
}

func (p *Process) shorten(until plane.Instant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.final = true
	p.until = min(p.until, until)
}

// Address is on the loopback interface.
func (p *Process) Address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.unit.Port))
}

// Pid is 0: it is no process.
func (p *Process) Pid() int { return 0 }

// Stop ends it, unless it ignores SIGTERM.
func (p *Process) Stop(_ context.Context, kind plane.StopKind) error {
	if p.runtime.OnStop != nil {
		if err := p.runtime.OnStop(p.unit.Backend, kind); err != nil {
			return err
		}
	}
	if _, ended := p.exit(); ended {
		return runtime.ErrGone
	}
	switch {
	case kind == plane.Hard:
		p.kill("SIGKILL", 137)
	case !p.program.IgnoreTerm:
		p.kill("SIGTERM", 143)
	}
	return nil
}

// Wait returns when it has ended.
func (p *Process) Wait(ctx context.Context) (plane.Exit, error) {
	if p.runtime.OnWait != nil {
		if err := p.runtime.OnWait(p.unit.Backend); err != nil {
			return plane.Exit{}, err
		}
	}
	select {
	case <-p.done:
		exit, _ := p.exit()
		return exit, nil
	case <-ctx.Done():
		return plane.Exit{}, ctx.Err()
	}
}

// Forget drops an ended one; one that runs is kept.
func (p *Process) Forget(context.Context) error {
	if _, ended := p.exit(); ended {
		p.runtime.forget(p.unit.Backend)
	}
	return nil
}

// Usage is made up.
func (p *Process) Usage(context.Context) (runtime.Usage, error) {
	return runtime.Usage{CPU: 7 * time.Millisecond, Memory: 1 << 20, Pids: 1}, nil
}

// Listening tells the truth.
func (p *Process) Listening(context.Context) (owns, everywhere, known bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looks++
	return p.listener != nil, p.program.Everywhere, true, nil
}
