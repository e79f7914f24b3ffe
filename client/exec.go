package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"plane"
)

// Command is one that Exec runs in a backend.
type Command struct {
	Argv           []string // the program, then its arguments; there is no shell unless it is one
	TTY            bool     // with a terminal of its own; all output is then Stdout
	Rows, Cols     uint16   // of that terminal at first
	Resize         <-chan TerminalSize
	Stdin          io.Reader // nil = nothing
	Stdout, Stderr io.Writer // nil = dropped
}

// TerminalSize is the size of a terminal.
type TerminalSize struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// What the first byte of a message says of the rest.
const (
	execInput byte = iota
	execOutput
	execErrors
	execResize
	execInputEnd
	execEnd
)

const (
	execPiece   = 32 << 10         // bytes of one message of input
	execMessage = 1 << 20          // bytes of one message that is received
	execGoodbye = 10 * time.Second // for the close of a command that has ended
)

// Exec runs a command in a backend and gives its exit code: 128 + signal where a
// signal ended it. A *plane.Error says in a sentence why it couldn't run. The end
// of ctx kills the command. A Read of Stdin that hangs is left behind: nothing can
// end it.
func (c *Client) Exec(ctx context.Context, id plane.BackendID, cmd Command) (int, error) {
	ws, err := c.dialExec(ctx, id, cmd)
	if err != nil {
		return -1, err
	}
	ws.SetReadLimit(execMessage)
	ctx, cancel := context.WithCancel(ctx)
	e := &execution{ws: ws, cmd: cmd}
	var all sync.WaitGroup
	if cmd.Stdin != nil {
		go e.input(ctx) // not waited for, see above
	} else if err := e.send(ctx, execInputEnd, nil); err != nil {
		cancel()
		_ = ws.CloseNow()
		return -1, unreachable(ctx, err)
	}
	if cmd.Resize != nil {
		all.Go(func() { e.resize(ctx) })
	}
	all.Go(func() { e.ping(ctx) })
	code, err := e.output(ctx)
	if err == nil {
		_ = ws.Close(websocket.StatusNormalClosure, "")
	}
	cancel()
	_ = ws.CloseNow()
	all.Wait()
	return code, err
}

func (c *Client) dialExec(ctx context.Context, id plane.BackendID, cmd Command) (*websocket.Conn, error) {
	q := url.Values{"argv": cmd.Argv}
	if cmd.TTY {
		q.Set("tty", "1")
		q.Set("rows", strconv.Itoa(int(cmd.Rows)))
		q.Set("cols", strconv.Itoa(int(cmd.Cols)))
	}
	header := http.Header{}
	if c.key != "" {
		header.Set("Authorization", "Bearer "+string(c.key))
	}
	target := c.base.String() + "/ctrl/b/" + segment(string(id)) + "/exec?" + q.Encode()
	ws, resp, err := websocket.Dial(ctx, target, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: header})
	switch {
	case err == nil:
		return ws, nil
	case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		return nil, failure(resp) // the head of its body is kept
	}
	return nil, unreachable(ctx, err)
}

// execution is one command over its socket.
type execution struct {
	ws  *websocket.Conn
	cmd Command

	writes atomic.Int64 // begun and ended ones to Stdout and Stderr; odd while one runs
}

func (e *execution) send(ctx context.Context, kind byte, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return e.ws.Write(ctx, websocket.MessageBinary, append([]byte{kind}, data...))
}

// input passes Stdin on, piece by piece; the other side takes one when the
// command has read enough.
func (e *execution) input(ctx context.Context) {
	b := make([]byte, execPiece)
	for {
		n, err := e.cmd.Stdin.Read(b)
		if n > 0 && e.ws.Write(ctx, websocket.MessageBinary, append([]byte{execInput}, b[:n]...)) != nil {
			return
		}
		if err != nil {
			_ = e.ws.Write(ctx, websocket.MessageBinary, []byte{execInputEnd})
			return
		}
	}
}

func (e *execution) resize(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-e.cmd.Resize:
			if !ok {
				return
			}
			b, err := json.Marshal(size)
			if err != nil || e.send(ctx, execResize, b) != nil {
				return
			}
		}
	}
}

// ping notices that the other side is gone. While Stdout or Stderr don't take
// what they get nobody reads the answers.
func (e *execution) ping(ctx context.Context) {
	for pause(ctx, pingEvery) {
		before := e.writes.Load()
		waiting, cancel := context.WithTimeout(ctx, pingTimeout)
		err := e.ws.Ping(waiting)
		cancel()
		if err != nil && before%2 == 0 && e.writes.Load() == before {
			_ = e.ws.CloseNow()
			return
		}
	}
}

// output passes on what the command says, to its end.
func (e *execution) output(ctx context.Context) (int, error) {
	for {
		_, m, err := e.ws.Read(ctx)
		if err != nil {
			return -1, unreachable(ctx, fmt.Errorf("the connection to the command broke off: %w", err))
		}
		if len(m) == 0 {
			continue // as is an output of no bytes: a sign of life
		}
		switch m[0] {
		case execOutput:
			err = e.put(e.cmd.Stdout, m[1:])
		case execErrors:
			err = e.put(e.cmd.Stderr, m[1:])
		case execEnd:
			return ended(m[1:])
		}
		if err != nil {
			return -1, fmt.Errorf("pass output on: %w", err)
		}
	}
}

func (e *execution) put(w io.Writer, b []byte) error {
	if w == nil || len(b) == 0 {
		return nil
	}
	e.writes.Add(1)
	defer e.writes.Add(1)
	_, err := w.Write(b)
	return err
}

// ended reads the last message.
func ended(b []byte) (int, error) {
	var said struct {
		Exit  *int   `json:"exit"`
		Error string `json:"error"`
	}
	switch err := json.Unmarshal(b, &said); {
	case err != nil:
		return -1, &BadAnswer{Err: err}
	case said.Error != "":
		return -1, plane.NewError(plane.Unavailable, said.Error)
	case said.Exit == nil:
		return -1, &BadAnswer{Err: errors.New("the end of a command has no exit code")}
	}
	return *said.Exit, nil
}
