package warden

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"plane"
)

// peer is a connected agent.
type peer struct {
	conn *conn
	pid  int

	mu      sync.Mutex // guards the fields below
	retired bool
	starts  sync.WaitGroup
}

// begin reports whether a start may go on. Until the function it returns is
// called, the peer isn't retired.
func (p *peer) begin() (done func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return nil, false
	}
	p.starts.Add(1)
	return p.starts.Done, true
}

// retire makes sure that no start of this peer happens any more: one that lay
// unread while the warden was stopped must not come after the word of the next
// agent.
func (p *peer) retire() {
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	p.conn.close()
	p.starts.Wait()
}

func (w *warden) serve(ctx context.Context, c *conn) {
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	defer c.release()
	defer c.close()
	m, fds, err := c.receive()
	closeAll(fds)
	if err != nil || m.Type != typeHello || m.Hello == nil {
		return
	}
	if err := m.Hello.check(); err != nil {
		_ = c.send(failed(m.Request, err))
		return
	}
	if m.Hello.Role == roleReaper {
		w.heir.serve(ctx, c, *m.Hello, m.Hello.Pid)
		return
	}
	select {
	case <-w.established:
	case <-ctx.Done():
		return
	}
	welcome := &message{Type: typeWelcome, Request: m.Request, Welcome: &Welcome{
		Instance: w.instance, Boot: w.boot, Base: w.means.Base(), Pid: os.Getpid(),
	}}
	switch m.Hello.Role {
	case roleProbe:
		_ = c.send(welcome)
	case roleOutput:
		if c.send(welcome) == nil {
			w.serveOutput(ctx, c)
		}
	case roleAgent:
		w.serveAgent(ctx, c, m.Hello.Pid, welcome)
	}
}

func (w *warden) serveAgent(ctx context.Context, c *conn, pid int, welcome *message) {
	connected, end := context.WithCancel(ctx)
	p := &peer{conn: c, pid: pid}
	var former []*peer
	w.mu.Lock()
	if w.leaving {
		w.mu.Unlock()
		end()
		return
	}
	first := true
	for q := range w.agents {
		if q.pid != pid {
			former = append(former, q)
		}
		first = first && q.pid != pid
	}
	w.agents[p] = true
	w.touchLocked()
	w.mu.Unlock()
	for _, q := range former {
		q.retire()
	}
	if first { // one before it may have ended while there was no warden
		w.keepers.Go(func() { w.means.EndGuests(ctx, w.connected) })
	}
	var questions sync.WaitGroup
	defer func() {
		end()
		questions.Wait()
		w.mu.Lock()
		delete(w.agents, p)
		gone := true
		for q := range w.agents {
			gone = gone && q.pid != pid
		}
		w.touchLocked()
		w.mu.Unlock()
		if gone {
			w.discardOf(ctx, pid)
			w.means.EndGuests(ctx, w.connected)
		}
	}()
	if c.send(welcome) != nil {
		return
	}
	for {
		m, fds, err := c.receive()
		closeAll(fds)
		if err != nil {
			return
		}
		questions.Go(func() {
			answer, err := w.answer(ctx, connected, p, m)
			switch {
			case err != nil:
				answer = failed(m.Request, err)
			case answer == nil:
				answer = &message{}
			}
			if err == nil {
				answer.Type, answer.Request = typeDone, m.Request
			}
			_ = c.send(answer)
		})
	}
}

// connected reports whether that agent is: what it runs in backends for somebody
// ends with it.
func (w *warden) connected(pid int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.agents {
		if p.pid == pid {
			return true
		}
	}
	return false
}

// answer does what m asks. What it starts lives as long as life; what it waits
// for, as long as connected.
func (w *warden) answer(life, connected context.Context, p *peer, m *message) (*message, error) {
	switch m.Type {
	case typeStart:
		if m.Order == nil {
			return nil, errors.New("start: no order")
		}
		done, ok := p.begin()
		if !ok {
			return nil, ErrGone
		}
		defer done()
		r, warnings, err := w.start(life, *m.Order)
		if err != nil {
			return nil, err
		}
		return &message{Running: &r, Warnings: warnings}, nil
	case typePrepare:
		if m.Sandbox == nil {
			return nil, errors.New("prepare: no sandbox")
		}
		done, ok := p.begin()
		if !ok {
			return nil, ErrGone
		}
		defer done()
		return nil, w.prepare(life, connected, p.pid, *m.Sandbox)
	case typeDiscard:
		w.discard(life, m.Names)
		return nil, nil
	case typeSandboxes:
		return &message{Names: w.prepared(p.pid)}, nil
	case typeGuard:
		if m.Order == nil {
			return nil, errors.New("guard: no order")
		}
		done, ok := p.begin()
		if !ok {
			return nil, ErrGone
		}
		defer done()
		r, err := w.guardOrder(*m.Order)
		return &message{Running: &r}, err
	case typeBind:
		r, err := w.bind(m.Backend, m.Pid)
		return &message{Running: &r}, err
	case typeRelease:
		if m.Exit == nil {
			return nil, errors.New("release: no exit")
		}
		return nil, w.release(m.Backend, *m.Exit)
	case typeStop:
		return nil, w.stop(m.Backend, m.Stop)
	case typeWait:
		exit, err := w.wait(connected, m.Backend)
		return &message{Exit: &exit}, err
	case typeForget:
		return nil, w.forget(m.Backend)
	case typeFound:
		return &message{Found: w.found()}, nil
	case typeAttach:
		r, err := w.attach(m.Backend)
		return &message{Running: &r}, err
	}
	return nil, fmt.Errorf("the warden doesn't know %q", m.Type)
}

// stop asks a backend to end, or makes it absent. A stop of an unknown one is
// remembered: its start may be on its way.
func (w *warden) stop(id plane.BackendID, kind plane.StopKind) error {
	w.mu.Lock()
	b := w.backends[id]
	if b == nil {
		if !w.ended[id] {
			w.refuseLocked(id)
		}
		w.mu.Unlock()
		return ErrGone
	}
	w.mu.Unlock()
	if kind == plane.Hard && w.table.Shorten(id, 0) { // a launch that hangs ends too
		w.executioner.Look()
	}
	<-b.started
	if b.failed != nil {
		return ErrGone
	}
	if kind == plane.Hard {
		w.table.Shorten(id, 0)
		w.executioner.Look()
		return nil
	}
	if e, live := w.table.Live(b.entry); live && e.Pid != 0 && w.table.Soften(e) {
		w.means.Terminate(identity(e))
	}
	return nil
}

func (w *warden) refuseLocked(id plane.BackendID) {
	now := time.Now()
	for old, at := range w.refused {
		if now.Sub(at) > refusedFor {
			delete(w.refused, old)
		}
	}
	w.refused[id] = now
}

func (w *warden) wait(ctx context.Context, id plane.BackendID) (plane.Exit, error) {
	w.mu.Lock()
	b, ended := w.backends[id], w.ended[id]
	w.mu.Unlock()
	switch {
	case b != nil:
		select {
		case <-b.ended:
			return b.exit, nil
		case <-ctx.Done():
			return plane.Exit{}, ErrLost
		}
	case ended:
		return *w.remembered(id).Exit, nil
	}
	return plane.Exit{}, ErrGone
}

func (w *warden) forget(id plane.BackendID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.backends[id] != nil {
		return errors.New("the backend still runs; stop it first")
	}
	delete(w.ended, id)
	if id.Check() != nil { // never a path that leaves the directory
		return nil
	}
	if err := os.RemoveAll(backendDir(w.home, id)); err != nil {
		return fmt.Errorf("forget backend: %w", err)
	}
	return nil
}

func (w *warden) found() []Running {
	w.mu.Lock()
	var running []*backend
	var ended []plane.BackendID
	for _, b := range w.backends {
		running = append(running, b)
	}
	for id := range w.ended {
		ended = append(ended, id)
	}
	w.mu.Unlock()
	var all []Running
	for _, b := range running {
		if <-b.started; b.failed == nil {
			all = append(all, w.running(b))
		}
	}
	for _, id := range ended {
		all = append(all, w.remembered(id))
	}
	return all
}

func (w *warden) attach(id plane.BackendID) (Running, error) {
	w.mu.Lock()
	b, ended := w.backends[id], w.ended[id]
	w.mu.Unlock()
	switch {
	case b != nil:
		<-b.started
		if b.failed != nil {
			return Running{}, ErrGone
		}
		return w.running(b), nil
	case ended:
		return w.remembered(id), nil
	}
	return Running{}, ErrGone
}

// serveOutput answers one question with offset and bytes.
func (w *warden) serveOutput(ctx context.Context, c *conn) {
	m, fds, err := c.receive()
	closeAll(fds)
	if err != nil || m.Output == nil {
		return
	}
	w.mu.Lock()
	b, ended := w.backends[m.Backend], w.ended[m.Backend]
	w.mu.Unlock()
	if b == nil && !ended || m.Backend.Check() != nil {
		_ = c.send(failed(m.Request, ErrGone))
		return
	}
	dir := backendDir(w.home, m.Backend)
	from := m.Output.From
	if from < 0 {
		from = tailOffset(dir, m.Output.Tail)
	}
	if c.send(&message{Type: typeOutput, Request: m.Request, Output: &outputAsk{From: from}}) != nil {
		return
	}
	ctx, gone := context.WithCancel(ctx)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer c.close()
	defer gone()
	reader.Go(func() { // the asker says nothing more: whatever comes is its end
		_, _, _ = c.receive()
		gone()
	})
	for {
		var changed <-chan struct{}
		ended := b == nil
		if b != nil {
			changed = b.out.wait()
			select {
			case <-b.ended:
				ended = true
			default:
			}
		}
		if from, err = readOutput(dir, from, &chunks{c: c, request: m.Request}); err != nil {
			return
		}
		if ended || !m.Output.Follow {
			_ = c.send(&message{Type: typeDone, Request: m.Request})
			return
		}
		select {
		case <-changed:
		case <-b.ended:
		case <-ctx.Done():
			return
		}
	}
}

// chunks sends what is written as messages.
type chunks struct {
	c       *conn
	request uint64
}

func (s *chunks) Write(p []byte) (int, error) {
	if err := s.c.send(&message{Type: typeOutput, Request: s.request, Bytes: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}
