package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

// logsMost is how much of a log may wait for a slow reader.
const logsMost = 8 << 20 // bytes

// Logs is a backend's output: the last tail lines (0 = all that is kept), and
// with follow what comes after, until it ends or the reader is closed. A
// reader that falls far behind is cut off with an error.
func (c *Controller) Logs(ctx context.Context, a Actor, id plane.BackendID, tail int, follow bool) (io.ReadCloser, error) {
	b, err := c.readable(ctx, a, id)
	if err != nil {
		return nil, err
	}
	if tail < 0 {
		return nil, plane.Invalid("tail", "tail must not be negative.")
	}
	s := c.drones.session(b.Drone)
	if s == nil {
		return kept(b)
	}
	r := s.logs.open(s.conn)
	if err := s.conn.Send(wire.LogsAsk{ID: r.id, Backend: id, Tail: int64(tail), Follow: follow}); err != nil {
		_ = r.Close()
		return kept(b)
	}
	// A reader that hangs in Read is freed by the end of the request.
	r.stop = context.AfterFunc(ctx, func() { r.fail(context.Cause(ctx)) })
	if b.State.Status == plane.Terminated && r.begins() != nil {
		_ = r.Close()
		return kept(b)
	}
	return r, nil
}

// kept is the output that was reported with a backend's end.
func kept(b store.Backend) (io.ReadCloser, error) {
	if b.State.Status == plane.Terminated && b.State.Exit != nil {
		return io.NopCloser(strings.NewReader(b.State.Exit.Output)), nil
	}
	return nil, plane.NewError(plane.Unavailable, fmt.Sprintf("Drone %s, which keeps the output, isn't connected.", b.Drone))
}

// logStreams are the logs that are being read from one drone.
type logStreams struct {
	last atomic.Int64

	mu   sync.Mutex // guards the fields below
	byID map[int64]*logReader
	err  error
}

func (l *logStreams) open(conn *wire.Conn) *logReader {
	r := &logReader{id: l.last.Add(1), streams: l, conn: conn, wake: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		r.err = l.err
		return r
	}
	if l.byID == nil {
		l.byID = map[int64]*logReader{}
	}
	l.byID[r.id] = r
	return r
}

// part takes a piece for whoever reads it; it never waits.
func (l *logStreams) part(m wire.LogsPart) {
	l.mu.Lock()
	r := l.byID[m.ID]
	if m.EOF || m.Error != "" {
		delete(l.byID, m.ID)
	}
	l.mu.Unlock()
	switch {
	case r == nil && !m.EOF && m.Error == "":
		return // closed; the drone has been told
	case r == nil:
		return
	case m.Error != "":
		r.fail(plane.NewError(plane.Unavailable, m.Error))
		return
	}
	if !r.add(m.Data) {
		r.fail(errSlowReader)
		l.close(r)
		return
	}
	if m.EOF {
		r.fail(io.EOF)
	}
}

var errSlowReader = errors.New("the reader of the log is too slow")

func (l *logStreams) close(r *logReader) {
	l.mu.Lock()
	_, open := l.byID[r.id]
	delete(l.byID, r.id)
	l.mu.Unlock()
	if open {
		_ = r.conn.Send(wire.LogsStop{ID: r.id})
	}
}

func (l *logStreams) fail(err error) {
	l.mu.Lock()
	all := l.byID
	l.byID, l.err = nil, err
	l.mu.Unlock()
	for _, r := range all {
		r.fail(err)
	}
}

// logReader is one log being read.
type logReader struct {
	id      int64
	streams *logStreams
	conn    *wire.Conn
	stop    func() bool
	wake    chan struct{} // capacity 1

	mu   sync.Mutex // guards the fields below
	data []byte
	err  error // after data
}

func (r *logReader) add(b []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.data)+len(b) > logsMost {
		return false
	}
	r.data = append(r.data, b...)
	r.signal()
	return true
}

func (r *logReader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.signal()
}

func (r *logReader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Read waits for output. It may be called by one goroutine at a time.
func (r *logReader) Read(p []byte) (int, error) {
	for {
		r.mu.Lock()
		if len(r.data) > 0 {
			n := copy(p, r.data)
			r.data = r.data[n:]
			if len(r.data) == 0 {
				r.data = nil
			}
			r.mu.Unlock()
			return n, nil
		}
		err := r.err
		r.mu.Unlock()
		if err != nil {
			return 0, err
		}
		<-r.wake
	}
}

// begins waits until there is output, or none to come; its error says that there
// won't be any.
func (r *logReader) begins() error {
	for {
		r.mu.Lock()
		n, err := len(r.data), r.err
		r.mu.Unlock()
		switch {
		case n > 0 || errors.Is(err, io.EOF):
			r.signal()
			return nil
		case err != nil:
			return err
		}
		<-r.wake
	}
}

// Close tells the drone that nobody reads any more.
func (r *logReader) Close() error {
	if r.stop != nil {
		r.stop()
	}
	r.fail(io.ErrClosedPipe)
	r.streams.close(r)
	return nil
}
