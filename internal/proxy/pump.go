package proxy

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// pump is the goroutine that reads the client while a backend answers.
type pump struct {
	done     chan struct{}
	watching bool        // there is no body
	taken    atomic.Bool // the whole body has come from the client
	stopping atomic.Bool
	complete bool // and has been sent; to be read once done is closed
}

// watch looks out for the client's leaving.
func (x *exchange) watch() {
	if x.pump != nil {
		return
	}
	p := &pump{done: make(chan struct{}), watching: true, complete: true}
	x.pump = p
	go func() {
		defer close(p.done)
		x.client.lookOut()
	}()
}

// send carries the request's body to the backend, then looks out.
func (x *exchange) send(u *upstream) {
	p := &pump{done: make(chan struct{})}
	x.pump = p
	x.sent = true
	go func() {
		defer close(p.done)
		if err := x.sendBody(p, u); err != nil {
			return
		}
		p.complete = true
		x.client.lookOut()
	}()
}

func (x *exchange) sendBody(p *pump, u *upstream) error {
	inChunks := x.req.length == chunked
	for {
		b, err := x.body.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if !p.stopping.Load() {
				cause := errClientGone
				if errors.Is(err, errMalformed) {
					cause = errBadBody
				}
				x.abort(cause)
			}
			return err
		}
		if x.body.atEnd() {
			p.taken.Store(true)
		}
		if inChunks {
			err = u.write(fmt.Appendf(nil, "%x\r\n", len(b)), b, []byte("\r\n"))
		} else {
			err = u.write(b)
		}
		if err != nil {
			return err // the backend may have answered nonetheless
		}
		x.p.metrics.sent(len(b))
	}
	p.taken.Store(true)
	if !inChunks {
		return nil
	}
	end := []byte("0\r\n")
	for _, f := range x.body.trailing() {
		if !reserved(f.name) && !perHop(f.name) && !untrailed(f.name) {
			end = appendField(end, f.name, f.value)
		}
	}
	return u.write(append(end, "\r\n"...))
}

// stopPump ends the goroutine that reads the client, if there is one. It
// reports whether the request's body has been sent completely.
func (x *exchange) stopPump() bool {
	p := x.pump
	if p == nil {
		return true
	}
	x.pump = nil
	p.stopping.Store(true)
	x.mu.Lock()
	if x.up != nil && !p.watching {
		limit := time.Now()
		if p.taken.Load() {
			limit = limit.Add(time.Second) // the last write is on its way
		}
		_ = x.up.conn.SetWriteDeadline(limit)
	}
	x.mu.Unlock()
	x.client.interrupt()
	<-p.done
	x.client.rest()
	x.mu.Lock()
	if x.up != nil && !p.watching {
		_ = x.up.conn.SetWriteDeadline(time.Time{})
	}
	x.mu.Unlock()
	return p.complete
}

// untrailed reports whether a field means something only in a head.
func untrailed(name string) bool {
	return matches(name, "host") || matches(name, "authorization") || matches(name, "cookie") || matches(name, "trailer")
}
