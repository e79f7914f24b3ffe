package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrTooLarge is what Send gives for a message that is larger than the queue.
var ErrTooLarge = errors.New("message is larger than the queue")

// outbox holds messages that wait for a connection, up to a limit in bytes.
type outbox struct {
	limit int

	mu      sync.Mutex // guards the fields below
	held    []Message
	size    int           // bytes in held
	ended   error         // why nothing is taken any more
	changed chan struct{} // closed at the next change, nil if nobody waits
}

// await calls try under the lock until it is done.
func (o *outbox) await(ctx context.Context, try func() bool) error {
	for {
		o.mu.Lock()
		if try() {
			o.mu.Unlock()
			return nil
		}
		if err := o.ended; err != nil {
			o.mu.Unlock()
			return err
		}
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *outbox) tellLocked() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// put waits until there is room.
func (o *outbox) put(ctx context.Context, m Message) error {
	if len(m.Data) > o.limit {
		return fmt.Errorf("%w: %d of %d bytes", ErrTooLarge, len(m.Data), o.limit)
	}
	return o.await(ctx, func() bool {
		if o.ended != nil || o.size+len(m.Data) > o.limit {
			return false
		}
		o.held = append(o.held, m)
		o.size += len(m.Data)
		o.tellLocked()
		return true
	})
}

// take waits until there is a message.
func (o *outbox) take(ctx context.Context) (m Message, err error) {
	err = o.await(ctx, func() bool {
		if len(o.held) == 0 || ctx.Err() != nil {
			return false
		}
		m = o.held[0]
		o.held[0] = Message{}
		o.held = o.held[1:]
		o.size -= len(m.Data)
		o.tellLocked()
		return true
	})
	return m, err
}

// empty takes all there is.
func (o *outbox) empty() []Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	held := o.held
	o.held, o.size = nil, 0
	o.tellLocked()
	return held
}

// end lets everybody go who waits, with err.
func (o *outbox) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended == nil {
		o.ended = err
	}
	o.tellLocked()
}
