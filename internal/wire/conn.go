package wire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	maxMessage     = 16 << 20         // bytes
	writeTimeout   = 10 * time.Second // of one message
	pingEvery      = 5 * time.Second
	pingTimeout    = 10 * time.Second
	stateQueue     = 8192 // messages; a peer that lags further is cut off
	telemetryQueue = 16   // messages; the oldest is dropped
	bulkQueue      = 16   // messages; senders wait
)

// ErrClogged ends a connection whose peer doesn't read: its queue was full.
var ErrClogged = errors.New("connection clogged: the peer does not take its messages")

// ErrClosed is what Send gives on a connection that has ended.
var ErrClosed = errors.New("connection closed")

// Conn carries messages. Before Run, use Write and Read for the handshake;
// from then on only Send, SendTelemetry and the handler of Run.
type Conn struct {
	ws   *websocket.Conn
	wake chan struct{} // capacity 1
	bulk chan Message  // of SendBulk
	over chan struct{} // closed with ended

	mu        sync.Mutex // guards the fields below
	queue     []Message
	telemetry []Message
	ended     error
	cancel    context.CancelCauseFunc
}

// Dial connects to a controller's socket at url (ws:// or http://).
func Dial(ctx context.Context, url string, client *http.Client, header http.Header) (*Conn, error) {
	ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, HTTPHeader: header})
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("dial controller: %s: %w", resp.Status, err)
		}
		return nil, fmt.Errorf("dial controller: %w", err)
	}
	return newConn(ws), nil
}

// Accept upgrades a request. On an error it has answered the request.
func Accept(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	// Nodes aren't browsers: whoever sends an Origin is refused by the caller.
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return nil, fmt.Errorf("accept socket: %w", err)
	}
	return newConn(ws), nil
}

func newConn(ws *websocket.Conn) *Conn {
	ws.SetReadLimit(maxMessage)
	return &Conn{ws: ws, wake: make(chan struct{}, 1), bulk: make(chan Message, bulkQueue), over: make(chan struct{})}
}

// Write sends one message at once. Only before Run.
func (c *Conn) Write(ctx context.Context, m Message) error {
	b, err := Encode(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, b)
}

// Read takes one message that this version knows. Only before Run.
func (c *Conn) Read(ctx context.Context) (Message, error) {
	for {
		_, b, err := c.ws.Read(ctx)
		if err != nil {
			return nil, err
		}
		if m, err := Decode(b); m != nil || err != nil {
			return m, err
		}
	}
}

// Send queues m and never blocks. If the queue is full the connection ends
// with ErrClogged; nothing is dropped silently.
func (c *Conn) Send(m Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return c.ended
	}
	if len(c.queue) >= stateQueue {
		c.endLocked(ErrClogged)
		return ErrClogged
	}
	c.queue = append(c.queue, m)
	c.signal()
	return nil
}

// SendTelemetry queues m beside the state messages; of too many the oldest is
// dropped. It gives how many were.
func (c *Conn) SendTelemetry(m Message) (dropped int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return 1
	}
	if len(c.telemetry) >= telemetryQueue {
		c.telemetry = c.telemetry[1:]
		dropped = 1
	}
	c.telemetry = append(c.telemetry, m)
	c.signal()
	return dropped
}

// SendBulk queues m behind everything that is queued and waits for room, until
// ctx is done or the connection has ended: for streams that may be longer than
// what the peer takes at once.
func (c *Conn) SendBulk(ctx context.Context, m Message) error {
	select {
	case c.bulk <- m:
		return nil
	case <-c.over:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.ended
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Conn) endLocked(err error) {
	c.endedLocked(err)
	if c.cancel != nil {
		c.cancel(err)
	}
}

func (c *Conn) endedLocked(err error) {
	if c.ended == nil {
		c.ended = err
		close(c.over)
	}
}

// Close ends the connection with a reason for the peer's log.
func (c *Conn) Close(reason string) {
	c.mu.Lock()
	c.endLocked(ErrClosed)
	c.mu.Unlock()
	if len(reason) > 120 {
		reason = reason[:120]
	}
	_ = c.ws.Close(websocket.StatusNormalClosure, reason)
}

// Run reads messages into handle, one at a time, writes what Send queued and
// pings. It returns when ctx is done or anything fails, with the connection
// closed and its goroutines ended; what was queued and not written is lost, as
// far as this connection goes. handle must not wait for the peer.
func (c *Conn) Run(ctx context.Context, handle func(Message) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	if c.ended != nil {
		defer c.mu.Unlock()
		_ = c.ws.CloseNow()
		return c.ended
	}
	c.cancel = cancel
	c.mu.Unlock()

	var wg sync.WaitGroup
	wg.Go(func() { cancel(c.read(ctx, handle)) })
	wg.Go(func() { cancel(c.write(ctx)) })
	wg.Go(func() { cancel(c.ping(ctx)) })
	<-ctx.Done()
	cause := context.Cause(ctx)
	c.mu.Lock()
	c.endedLocked(fmt.Errorf("%w: %w", ErrClosed, cause))
	c.queue, c.telemetry = nil, nil
	c.mu.Unlock()
	_ = c.ws.CloseNow()
	wg.Wait()
	return cause
}

func (c *Conn) read(ctx context.Context, handle func(Message) error) error {
	for {
		m, err := c.Read(ctx)
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		if g, ok := m.(Goodbye); ok {
			return fmt.Errorf("peer left: %s", g.Reason)
		}
		if err := handle(m); err != nil {
			return fmt.Errorf("handle %s: %w", m.kind(), err)
		}
	}
}

func (c *Conn) write(ctx context.Context) error {
	for {
		if err := c.writeQueued(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.wake:
		case m := <-c.bulk:
			// What was queued before it goes before it.
			if err := c.writeQueued(ctx); err != nil {
				return err
			}
			if err := c.Write(ctx, m); err != nil {
				return fmt.Errorf("write %s: %w", m.kind(), err)
			}
		}
	}
}

// writeQueued writes until nothing is queued beside bulk.
func (c *Conn) writeQueued(ctx context.Context) error {
	for {
		c.mu.Lock()
		batch := c.queue
		c.queue = nil
		if len(batch) == 0 && len(c.telemetry) > 0 {
			batch = c.telemetry[:1:1]
			c.telemetry = c.telemetry[1:]
		}
		c.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		for _, m := range batch {
			if err := c.Write(ctx, m); err != nil {
				return fmt.Errorf("write %s: %w", m.kind(), err)
			}
		}
	}
}

func (c *Conn) ping(ctx context.Context) error {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		}
		pctx, cancel := context.WithTimeout(ctx, pingTimeout)
		err := c.ws.Ping(pctx)
		cancel()
		if err != nil {
			return fmt.Errorf("ping peer: %w", err)
		}
	}
}
