package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"plane"
	"plane/internal/controller"
	"plane/internal/wait"
)

// What the first byte of a message says of the rest, both ways.
const (
	execInput    = 0 // bytes for the command's input
	execOutput   = 1 // bytes of its output
	execErrors   = 2 // bytes of its error output, without a terminal
	execResize   = 3 // {"rows":24,"cols":80}
	execInputEnd = 4 // nothing: there is no more input
	execEnd      = 5 // {"exit":0} or {"error":"…"}; the last one
)

const (
	execMessage   = 1 << 20         // bytes of one message
	execWriteTime = 5 * time.Minute // for the client to take one: people leave a pager open
	execPingEvery = 15 * time.Second
	execPongTime  = 30 * time.Second // for the answer to a ping
	execBeat      = 2 * time.Second  // how soon a client is missed whose input waits
)

// exec runs a command in a backend and connects it with a WebSocket.
func (a *API) exec(w http.ResponseWriter, r *http.Request, who controller.Actor) error {
	ask, err := execRequest(r)
	if err != nil {
		return err
	}
	// Before anything runs: what can't become a socket does nothing.
	if !wantsSocket(r) {
		w.Header().Set("Upgrade", "websocket")
		return &plane.Error{
			Kind: plane.BadRequest, Status: http.StatusUpgradeRequired,
			Message: "This route is a WebSocket: send Upgrade: websocket, or use `plane exec`.",
		}
	}
	x, err := a.ctrl.Exec(r.Context(), who, backendOf(r), ask)
	if err != nil {
		return err
	}
	defer x.Close()
	// The door has judged the Origin already.
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		a.log.Warn("socket refused", "route", r.Pattern, "request_id", who.RequestID, "error", err)
		return nil // it has been answered
	}
	ws.SetReadLimit(execMessage)
	s := execSocket{ws: ws, x: x}
	if err := s.run(r.Context()); err != nil {
		a.log.Info("exec ended early", "backend", backendOf(r), "request_id", who.RequestID, "error", err)
	}
	return nil
}

// execRequest reads argv (repeated), tty, rows and cols.
func execRequest(r *http.Request) (controller.ExecRequest, error) {
	var ask controller.ExecRequest
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return ask, plane.NewError(plane.BadRequest, "The query string is malformed.")
	}
	ask.Argv = values["argv"]
	if len(ask.Argv) == 0 {
		return ask, plane.Invalid("argv", "argv is missing: give the command as argv=PROGRAM&argv=ARGUMENT, one for each word.")
	}
	values.Del("argv")
	q, err := queryOf(values, "tty", "rows", "cols")
	if err != nil {
		return ask, err
	}
	if ask.TTY, err = q.flag("tty"); err != nil {
		return ask, err
	}
	for _, n := range []struct {
		name string
		into *uint16
	}{{"rows", &ask.Rows}, {"cols", &ask.Cols}} {
		v, err := q.number(n.name, 0, 65535, 0)
		if err != nil {
			return ask, err
		}
		*n.into = uint16(v)
	}
	return ask, nil
}

func wantsSocket(r *http.Request) bool {
	h := r.Header
	return strings.EqualFold(h.Get("Upgrade"), "websocket") && strings.Contains(strings.ToLower(h.Get("Connection")), "upgrade") &&
		h.Get("Sec-WebSocket-Version") == "13" && len(h.Get("Sec-WebSocket-Key")) == 24
}

// execSocket connects one WebSocket with one command.
type execSocket struct {
	ws *websocket.Conn
	x  *controller.Execution

	// How often each began or ended; odd meanwhile.
	waits  atomic.Int64 // of input, for the command to take it
	writes atomic.Int64 // to the client
}

// run passes on until the command has ended, the client is gone or ctx ends.
func (s *execSocket) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var all sync.WaitGroup
	all.Go(func() { cancel(s.input(ctx)) })
	all.Go(func() { cancel(s.ping(ctx)) })
	all.Go(func() { cancel(s.beat(ctx)) })
	err := s.output(ctx)
	if err == nil {
		_ = s.ws.Close(websocket.StatusNormalClosure, "")
	}
	cancel(err)
	_ = s.ws.CloseNow()
	all.Wait()
	return err
}

// output passes on what the command says, to its end.
func (s *execSocket) output(ctx context.Context) error {
	for {
		p, err := s.x.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			_ = s.end(ctx, execEnded{Error: sentenceOf(err)})
			return err
		}
		if len(p.Data) > 0 {
			kind := byte(execOutput)
			if p.Stderr {
				kind = execErrors
			}
			if err := s.write(ctx, kind, p.Data); err != nil {
				return err
			}
		}
		if p.Exit != nil || p.Error != "" {
			return s.end(ctx, execEnded{Exit: p.Exit, Error: p.Error})
		}
	}
}

// execEnded is the last message.
type execEnded struct {
	Exit  *int   `json:"exit,omitempty"`
	Error string `json:"error,omitempty"`
}

func sentenceOf(err error) string {
	var e *plane.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "The connection to the drone was lost; whether the command has ended is not known."
}

func (s *execSocket) end(ctx context.Context, e execEnded) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.write(ctx, execEnd, b)
}

func (s *execSocket) write(ctx context.Context, kind byte, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, execWriteTime)
	defer cancel()
	s.writes.Add(1)
	defer s.writes.Add(1)
	m := make([]byte, 1, 1+len(data))
	m[0] = kind
	if err := s.ws.Write(ctx, websocket.MessageBinary, append(m, data...)); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}

// input passes on what the client says, until it is gone or says nonsense.
func (s *execSocket) input(ctx context.Context) error {
	open := true
	for {
		_, m, err := s.ws.Read(ctx)
		if err != nil {
			return fmt.Errorf("read from the client: %w", err)
		}
		if len(m) == 0 {
			continue
		}
		switch m[0] {
		case execInput:
			if !open {
				continue // the command reads no more, or was told of the end
			}
			s.waits.Add(1)
			err = s.x.Write(ctx, m[1:])
			s.waits.Add(1)
			open = err == nil
		case execInputEnd:
			if open {
				_ = s.x.EndInput()
			}
			open = false
		case execResize:
			var size struct{ Rows, Cols uint16 }
			if json.Unmarshal(m[1:], &size) == nil {
				_ = s.x.Resize(size.Rows, size.Cols)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// ping notices a client that is gone without a word. While input waits for the
// command, or the client takes no output, nobody reads the answers.
func (s *execSocket) ping(ctx context.Context) error {
	for wait.For(ctx, execPingEvery) {
		waits, writes := s.waits.Load(), s.writes.Load()
		wait, cancel := context.WithTimeout(ctx, execPongTime)
		err := s.ws.Ping(wait)
		cancel()
		idle := waits%2 == 0 && writes%2 == 0 && s.waits.Load() == waits && s.writes.Load() == writes
		if err != nil && idle && ctx.Err() == nil {
			return fmt.Errorf("the client is gone: %w", err)
		}
	}
	return context.Cause(ctx)
}

// beat writes something now and then while input waits for the command: the end
// of the connection is then behind what nobody reads.
func (s *execSocket) beat(ctx context.Context) error {
	for wait.For(ctx, execBeat) {
		if s.waits.Load()%2 == 0 {
			continue
		}
		if err := s.write(ctx, execOutput, nil); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}
