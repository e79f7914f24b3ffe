package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	keepAlive    = 15 * time.Second // without an event
	writeTimeout = 30 * time.Second // of one event
)

// stream writes server-sent events:
//
//	data: {"status":"ready",…}
//	id: ready
//
// and a comment line whenever there was nothing to say for a while.
type stream struct {
	rc     *http.ResponseController
	w      http.ResponseWriter
	cancel context.CancelFunc

	mu     sync.Mutex // guards the fields below and writes to w
	buf    bytes.Buffer
	quiet  *time.Timer
	closed bool
}

// openStream sends the head of the answer. The context ends when the client
// has gone or doesn't take its events. close must be called.
func openStream(w http.ResponseWriter, r *http.Request) (*stream, context.Context) {
	ctx, cancel := context.WithCancel(r.Context())
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // nginx would keep events back
	w.WriteHeader(http.StatusOK)
	s := &stream{rc: http.NewResponseController(w), w: w, cancel: cancel}
	_ = s.rc.Flush()
	s.mu.Lock()
	s.quiet = time.AfterFunc(keepAlive, s.sayNothing)
	s.mu.Unlock()
	return s, ctx
}

// send writes one event. Text of several lines becomes several data lines.
func (s *stream) send(data []byte, id string) error { return s.sendAs("", data, id) }

// sendAs is send for an event with a name. One without id leaves the id that the
// client resumes from as it is.
func (s *stream) sendAs(name string, data []byte, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Reset()
	if name != "" {
		s.buf.WriteString("event: " + name + "\n")
	}
	for line := range bytes.FieldsFuncSeq(data, isLineEnd) {
		s.buf.WriteString("data: ")
		s.buf.Write(line)
		s.buf.WriteByte('\n')
	}
	if s.buf.Len() == 0 {
		s.buf.WriteString("data: \n")
	}
	if id != "" {
		s.buf.WriteString("id: " + id + "\n")
	}
	s.buf.WriteByte('\n')
	return s.writeLocked(s.buf.Bytes())
}

func isLineEnd(c rune) bool { return c == '\n' || c == '\r' }

func (s *stream) sayNothing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		_ = s.writeLocked([]byte(":\n\n"))
	}
}

func (s *stream) writeLocked(b []byte) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := s.w.Write(b)
	if err == nil {
		err = s.rc.Flush()
	}
	if err != nil {
		s.cancel()
		return fmt.Errorf("write event: %w", err)
	}
	s.quiet.Reset(keepAlive)
	return nil
}

// close returns when nothing writes any more.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.quiet.Stop()
	s.cancel()
	_ = s.rc.SetWriteDeadline(time.Time{})
}
