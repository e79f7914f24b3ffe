package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"plane"
)

// Message is one message of a Socket.
type Message struct {
	Data []byte
	Text bool // UTF-8, not binary
}

// SocketOptions are what a Socket tells, and its limits. Its functions are
// called one at a time, from Run; while one runs nothing more is received. In
// OnGeneration and OnLost nothing is sent either: a Send that finds the queue full waits there for ever.
type SocketOptions struct {
	OnMessage    func(Message)
	OnOpen       func(plane.Generation)             // each time there is a connection
	OnGeneration func(now, before plane.Generation) // the state behind it is a new one; before OnOpen
	OnLost       func(err error, wait time.Duration)
	Reconnect    func(*Closed) bool // false = this close is for good

	Header       http.Header // of the handshake
	Subprotocols []string
	Queue        int   // bytes that Send takes ahead; 0 = 1 MiB
	ReadLimit    int64 // bytes of a message that is received; 0 = 32 MiB
}

// Closed is what Run gives when the connection was closed for good.
type Closed struct {
	Code   int
	Reason string
}

func (e *Closed) Error() string {
	switch {
	case e.Code == closeRevoked:
		return "access was revoked"
	case e.Reason != "":
		return fmt.Sprintf("closed: %d %s", e.Code, e.Reason)
	}
	return fmt.Sprintf("closed: %d", e.Code)
}

// ErrClosed is what Send gives after Close.
var ErrClosed = errors.New("socket is closed")

const (
	defaultQueue     = 1 << 20  // bytes
	defaultReadLimit = 32 << 20 // bytes

	// Plane's own codes: 4101 is that there is a new generation.
	closeMoved   = 4100
	closeRevoked = 4103

	dialTimeout  = 75 * time.Second // a start is waited for by the proxy
	writeTimeout = 60 * time.Second
	pingEvery    = 30 * time.Second
	pingTimeout  = 20 * time.Second
)

// Socket is a WebSocket that comes back: with a fresh token when the backend
// behind the old one has ended. Nothing is sent twice; what was on its way when a
// connection broke is lost.
type Socket struct {
	session *Session
	path    string
	opts    SocketOptions
	out     outbox
	random  func() float64 // of [0, 1)

	closeOnce sync.Once
	closing   chan struct{}
	retry     chan struct{} // of one place: an attempt now, please
	calls     atomic.Int64  // begun and ended ones of functions of opts; odd while one runs

	generation plane.Generation // last told; Run's
}

// Socket makes a WebSocket for a path below the backend's URL. It does nothing
// until Run.
func (s *Session) Socket(path string, opts SocketOptions) *Socket {
	if opts.Queue <= 0 {
		opts.Queue = defaultQueue
	}
	if opts.ReadLimit <= 0 {
		opts.ReadLimit = defaultReadLimit
	}
	return &Socket{
		session: s, path: path, opts: opts, out: outbox{limit: opts.Queue},
		random: rand.Float64, closing: make(chan struct{}), retry: make(chan struct{}, 1), generation: s.Generation(),
	}
}

// Send gives m to the queue, and waits while that is full. Data must not be
// changed afterwards. What is queued is sent, in order, when there is a
// connection, after OnGeneration.
func (k *Socket) Send(ctx context.Context, m Message) error { return k.out.put(ctx, m) }

// Unsent takes back what is queued; in OnGeneration, if it was meant for the
// old state.
func (k *Socket) Unsent() []Message { return k.out.empty() }

// Retry ends the wait before the next attempt, whatever it waits for, and lets
// Run count attempts anew: for somebody who knows that the other side is back. What
// is open stays as it is; an attempt that runs meanwhile is followed by another at once.
func (k *Socket) Retry() {
	select {
	case k.retry <- struct{}{}:
	default: // asked already
	}
}

// Close lets Run say goodbye and return nil. It doesn't wait.
func (k *Socket) Close() { k.closeOnce.Do(func() { close(k.closing) }) }

// Run connects, and connects again, until ctx ends, Close is called (nil), the
// connection is closed for good (*Closed), or asking for a token is refused for
// good (*Failure). It may be called once.
func (k *Socket) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() {
		select {
		case <-k.closing:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	})
	defer func() {
		cancel(err)
		watcher.Wait()
		if errors.Is(err, ErrClosed) {
			err = nil
		}
		k.out.end(ErrClosed)
	}()
	answer, stale := k.session.Answer(), false
	var lost losses
	for {
		var opened time.Time
		answer, opened, err = k.once(ctx, answer, stale)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if k.forGood(err) {
			return err
		}
		if !opened.IsZero() && time.Since(opened) >= stable {
			lost = losses{}
		}
		stale = opened.IsZero() || wantsToken(err)
		wait := min(hint(err), longestHint) + lost.next(k.random())
		if k.opts.OnLost != nil {
			k.call(func() { k.opts.OnLost(err, wait) })
		}
		if !k.pause(ctx, wait, &lost) {
			return context.Cause(ctx)
		}
	}
}

// once is one connection from asking, if need be, to its end. opened is zero
// if it didn't come about.
func (k *Socket) once(ctx context.Context, a ConnectResponse, stale bool) (ConnectResponse, time.Time, error) {
	if stale || expired(a) {
		fresh, err := k.session.Refresh(ctx, a)
		if err != nil {
			return a, time.Time{}, err
		}
		a = fresh
	} else {
		a = k.session.Answer()
	}
	u, err := below(a, k.path)
	if err != nil {
		return a, time.Time{}, &Closed{Code: int(websocket.StatusNormalClosure), Reason: err.Error()}
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, resp, err := websocket.Dial(dialing, u.String(), &websocket.DialOptions{
		HTTPClient: k.session.http, HTTPHeader: k.opts.Header, Subprotocols: k.opts.Subprotocols,
	})
	cancel()
	if err != nil {
		return a, time.Time{}, refused(resp, err)
	}
	opened := time.Now()
	select {
	case <-k.retry: // it has succeeded
	default:
	}
	conn.SetReadLimit(k.opts.ReadLimit)
	before := k.generation
	k.generation = a.Generation
	if before != a.Generation && k.opts.OnGeneration != nil {
		k.call(func() { k.opts.OnGeneration(a.Generation, before) })
	}
	return a, opened, k.live(ctx, conn)
}

func (k *Socket) call(f func()) {
	k.calls.Add(1)
	defer k.calls.Add(1)
	f()
}

// live receives, sends and pings until the connection or ctx ends.
func (k *Socket) live(ctx context.Context, conn *websocket.Conn) error {
	// Its own, because a context that ends cuts the connection without a goodbye.
	own, end := context.WithCancelCause(context.WithoutCancel(ctx))
	var all sync.WaitGroup
	fail := func(err error) {
		end(err)
		_ = conn.CloseNow()
	}
	all.Go(func() {
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), ErrClosed) {
				_ = conn.Close(websocket.StatusNormalClosure, "")
			}
			fail(context.Cause(ctx))
		case <-own.Done():
		}
	})
	all.Go(func() { fail(k.write(own, conn)) })
	all.Go(func() { fail(k.ping(own, conn)) })
	if k.opts.OnOpen != nil {
		k.call(func() { k.opts.OnOpen(k.generation) })
	}
	for {
		kind, data, err := conn.Read(own)
		if err != nil {
			err = closed(err)
			fail(err)
			all.Wait()
			if errors.As(err, new(*Closed)) {
				return err // what it said counts, whatever else failed
			}
			return context.Cause(own)
		}
		if k.opts.OnMessage != nil {
			k.call(func() { k.opts.OnMessage(Message{Data: data, Text: kind == websocket.MessageText}) })
		}
	}
}

// write sends what is queued, until it can't.
func (k *Socket) write(ctx context.Context, conn *websocket.Conn) error {
	for {
		m, err := k.out.take(ctx)
		if err != nil {
			return err
		}
		kind := websocket.MessageBinary
		if m.Text {
			kind = websocket.MessageText
		}
		writing, cancel := context.WithTimeout(ctx, writeTimeout)
		err = conn.Write(writing, kind, m.Data)
		cancel()
		if err != nil {
			return err
		}
	}
}

// ping ends a connection whose other side is no longer there. While a function
// of ours runs nobody would read the answer.
func (k *Socket) ping(ctx context.Context, conn *websocket.Conn) error {
	for pause(ctx, pingEvery) {
		calls := k.calls.Load()
		if calls%2 == 1 {
			continue
		}
		waiting, cancel := context.WithTimeout(ctx, pingTimeout)
		err := conn.Ping(waiting)
		cancel()
		if err != nil && k.calls.Load() == calls {
			return fmt.Errorf("ping: %w", err)
		}
	}
	return ctx.Err()
}
