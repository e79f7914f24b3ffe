package warden

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"plane"
	"plane/internal/drone/home"
)

// Client is an agent's connection to a warden. While it is open the warden
// stays. When it breaks, every call returns ErrLost; connect anew. Safe for
// concurrent use.
type Client struct {
	home    home.Home
	conn    *conn
	welcome Welcome
	done    chan struct{}

	mu      sync.Mutex // guards the fields below
	next    uint64
	waiting map[uint64]chan *message
	lost    bool
}

// Connect connects as the agent. Connections of agents of other processes are
// closed before it returns, and nothing that they asked is started any more.
func Connect(ctx context.Context, h home.Home) (*Client, error) {
	c, welcome, err := dial(ctx, h, roleAgent)
	if err != nil {
		return nil, err
	}
	client := &Client{home: h, conn: c, welcome: *welcome, done: make(chan struct{}), waiting: map[uint64]chan *message{}}
	go client.read() // ends with the connection: see Close and Done
	return client, nil
}

// Probe asks whether a warden answers and what it is. It keeps nothing alive.
func Probe(ctx context.Context, h home.Home) (Welcome, error) {
	c, welcome, err := dial(ctx, h, roleProbe)
	if err != nil {
		return Welcome{}, err
	}
	c.close()
	return *welcome, nil
}

func connect(ctx context.Context, h home.Home) (*conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", h.WardenSocket())
	if err != nil {
		return nil, fmt.Errorf("connect to the warden: %w", err)
	}
	return newConn(c.(*net.UnixConn), 10*time.Second), nil
}

func dial(ctx context.Context, h home.Home, as role) (*conn, *Welcome, error) {
	c, err := connect(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	err = c.send(&message{Type: typeHello, Hello: &hello{Version: version, Role: as, Pid: os.Getpid()}})
	var m *message
	if err == nil {
		m, _, err = c.receive()
	}
	if err == nil {
		err = m.err()
	}
	if err == nil && m.Welcome == nil {
		err = errors.New("no welcome")
	}
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		c.close()
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("connect to the warden: it doesn't answer: %w", ctx.Err())
		}
		return nil, nil, fmt.Errorf("connect to the warden: %w", err)
	}
	return c, m.Welcome, nil
}

// Instance names the succession of wardens that has watched without a gap.
func (c *Client) Instance() string { return c.welcome.Instance }

// Welcome is what the warden said of itself.
func (c *Client) Welcome() Welcome { return c.welcome }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection. Backends run on.
func (c *Client) Close() {
	c.conn.close()
	<-c.done
}

func (c *Client) read() {
	defer close(c.done)
	defer c.conn.close()
	for {
		m, fds, err := c.conn.receive()
		closeAll(fds)
		c.mu.Lock()
		if err != nil {
			c.lost = true
			for _, ch := range c.waiting {
				close(ch)
			}
			c.waiting = nil
			c.mu.Unlock()
			return
		}
		ch := c.waiting[m.Request]
		delete(c.waiting, m.Request)
		c.mu.Unlock()
		if ch != nil {
			ch <- m
		}
	}
}

// ask sends m and waits for the answer. If ctx ends first, abandon is sent, if
// it isn't nil, on the same connection: so it comes after m.
func (c *Client) ask(ctx context.Context, m, abandon *message) (*message, error) {
	ch := make(chan *message, 1)
	c.mu.Lock()
	if c.lost {
		c.mu.Unlock()
		return nil, ErrLost
	}
	c.next++
	m.Request = c.next
	c.waiting[m.Request] = ch
	c.mu.Unlock()
	if err := c.conn.send(m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	select {
	case answer, ok := <-ch:
		if !ok {
			return nil, ErrLost
		}
		return answer, answer.err()
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, m.Request)
		c.mu.Unlock()
		if abandon != nil {
			_ = c.conn.send(abandon)
		}
		return nil, ctx.Err()
	}
}

// Start runs o, once per backend id: if it runs or ran already, that is
// returned. If ctx ends first, it is neither running nor started later, unless
// the connection breaks as well. Warnings are limits that aren't in force.
// ErrGone, ErrDead, ErrKeyInUse; other errors are sentences for people.
func (c *Client) Start(ctx context.Context, o Order) (r Running, warnings []string, err error) {
	abandon := &message{Type: typeStop, Backend: o.Backend, Stop: plane.Hard}
	m, err := c.ask(ctx, &message{Type: typeStart, Order: &o}, abandon)
	if err != nil {
		return Running{}, nil, err
	}
	return *m.Running, m.Warnings, nil
}

// Stop sends SIGTERM, at most once per backend, or kills all of it. It doesn't
// wait. ErrGone if it doesn't run; then it isn't started any more either.
func (c *Client) Stop(ctx context.Context, id plane.BackendID, kind plane.StopKind) error {
	_, err := c.ask(ctx, &message{Type: typeStop, Backend: id, Stop: kind}, nil)
	return err
}

// Wait returns when nothing of the backend is left. ErrGone if it isn't known.
func (c *Client) Wait(ctx context.Context, id plane.BackendID) (plane.Exit, error) {
	m, err := c.ask(ctx, &message{Type: typeWait, Backend: id}, nil)
	if err != nil {
		return plane.Exit{}, err
	}
	return *m.Exit, nil
}

// Forget drops output and exit status of an ended backend.
func (c *Client) Forget(ctx context.Context, id plane.BackendID) error {
	_, err := c.ask(ctx, &message{Type: typeForget, Backend: id}, nil)
	return err
}

// Found lists what runs and what ended and isn't forgotten.
func (c *Client) Found(ctx context.Context) ([]Running, error) {
	m, err := c.ask(ctx, &message{Type: typeFound}, nil)
	if err != nil {
		return nil, err
	}
	return m.Found, nil
}

// Attach gives one of Found. ErrGone if there is none.
func (c *Client) Attach(ctx context.Context, id plane.BackendID) (Running, error) {
	m, err := c.ask(ctx, &message{Type: typeAttach, Backend: id}, nil)
	if err != nil {
		return Running{}, err
	}
	return *m.Running, nil
}

// Prepare launches a sandbox and returns once it waits to be claimed by an
// Order. It ends by itself when no agent is connected any more.
func (c *Client) Prepare(ctx context.Context, s Sandbox) error {
	_, err := c.ask(ctx, &message{Type: typePrepare, Sandbox: &s}, &message{Type: typeDiscard, Names: []string{s.ID}})
	return err
}

// Discard ends prepared sandboxes and returns when nothing of them is left.
// Those that were claimed or aren't known are left alone.
func (c *Client) Discard(ctx context.Context, ids ...string) error {
	_, err := c.ask(ctx, &message{Type: typeDiscard, Names: ids}, nil)
	return err
}

// Sandboxes lists those that can be claimed.
func (c *Client) Sandboxes(ctx context.Context) ([]string, error) {
	m, err := c.ask(ctx, &message{Type: typeSandboxes}, nil)
	if err != nil {
		return nil, err
	}
	return m.Names, nil
}

// Guard makes the entry of a container before its engine is asked to start it:
// from then on the backend's deadline is kept, whatever the engine does. Once
// per backend id. ErrGone, ErrDead, ErrKeyInUse.
func (c *Client) Guard(ctx context.Context, o Order) (Running, error) {
	m, err := c.ask(ctx, &message{Type: typeGuard, Order: &o}, nil)
	if err != nil {
		return Running{}, err
	}
	return *m.Running, nil
}

// Bind tells the pid of a guarded container's init. ErrGone if it isn't guarded.
func (c *Client) Bind(ctx context.Context, id plane.BackendID, pid int) (Running, error) {
	m, err := c.ask(ctx, &message{Type: typeBind, Backend: id, Pid: pid}, nil)
	if err != nil {
		return Running{}, err
	}
	return *m.Running, nil
}

// Release ends a guard: the engine has nothing of the backend any more and can't
// start it either. exit is kept until Forget.
func (c *Client) Release(ctx context.Context, id plane.BackendID, exit plane.Exit) error {
	_, err := c.ask(ctx, &message{Type: typeRelease, Backend: id, Exit: &exit}, nil)
	return err
}

// Output reads kept output, see runtime.Logger; from is an offset to go on at,
// or -1. Its Read returns io.EOF after the last byte and ErrLost if the
// connection broke before. It uses a connection of its own.
func Output(ctx context.Context, h home.Home, id plane.BackendID, tail int, follow bool, from int64) (*OutputReader, error) {
	c, _, err := dial(ctx, h, roleOutput)
	if err != nil {
		return nil, err
	}
	m := &message{Type: typeOutput, Backend: id, Output: &outputAsk{Tail: tail, Follow: follow, From: from}}
	if err = c.send(m); err == nil {
		if m, _, err = c.receive(); err == nil {
			err = m.err()
		}
	}
	if err != nil {
		c.close()
		return nil, err
	}
	r := &OutputReader{conn: c}
	if m.Output != nil {
		r.offset = m.Output.From
	}
	r.stop = context.AfterFunc(ctx, c.close)
	return r, nil
}

// OutputReader reads the output of a backend. It is for one reader at a time.
type OutputReader struct {
	conn   *conn
	stop   func() bool
	rest   []byte
	offset int64
	err    error
}

// Read waits for output.
func (r *OutputReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		m, _, err := r.conn.receive()
		switch {
		case err != nil:
			r.err = ErrLost
		case m.Type == typeDone:
			r.err = io.EOF
		default:
			r.rest = m.Bytes
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.offset += int64(n)
	return n, nil
}

// Offset is where the next byte stands, for going on after ErrLost.
func (r *OutputReader) Offset() int64 { return r.offset }

// Close ends reading; a Read that waits returns.
func (r *OutputReader) Close() error {
	r.stop()
	r.conn.close()
	return nil
}
