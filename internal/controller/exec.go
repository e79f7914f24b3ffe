package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"plane"
	"plane/internal/store"
	"plane/internal/wire"
)

const (
	execPiece = 32 << 10        // bytes of input in one message
	execArgv  = 64 << 10        // bytes of a command line
	execSays  = 5 * time.Second // for the log to take that a command ended
)

// ExecRequest is a command that is to run in a backend, beside its own.
type ExecRequest struct {
	Argv       []string
	TTY        bool
	Rows, Cols uint16 // of the terminal at first
}

// Execution is a command that runs in a backend. Its methods for input (Write,
// EndInput, Resize) may be used beside Next; each by one goroutine at a time.
type Execution struct {
	c       *Controller
	actor   Actor
	backend store.Backend
	request ExecRequest
	began   time.Time
	id      int64
	session *droneSession
	wake    chan struct{} // capacity 1: there is more output
	room    chan struct{} // capacity 1: there is more room for input
	done    chan struct{} // closed with ended
	stop    func() bool   // of the caller's context
	closing sync.Once

	mu       sync.Mutex // guards the fields below
	output   []wire.ExecPart
	untold   int64 // bytes that came and whose taking wasn't told
	passed   int64 // of these, those that the reader has passed on
	reading  int64 // of these, those that it was given last
	underway int64 // bytes of input that the drone hasn't taken
	ended    bool
	exit     *int   // how it ended,
	refusal  string // what the drone says of it, a sentence,
	err      error  // or why that isn't known
}

// Exec runs a command in a backend that has been started, for an actor that has
// the verb exec there, and writes so in the log. Its errors are sentences: no
// such backend, Forbidden, not running, its drone isn't connected. What the
// drone refuses comes by Next. The caller closes what it gets; the end of ctx
// kills the command.
func (c *Controller) Exec(ctx context.Context, a Actor, id plane.BackendID, r ExecRequest) (*Execution, error) {
	b, err := c.backend(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := a.May(VerbExec, b.Key.Namespace); err != nil {
		return nil, err
	}
	if bad := r.check(); bad != nil {
		return nil, bad
	}
	if s := b.State.Status; s != plane.Waiting && s != plane.Ready && s != plane.Terminating {
		return nil, conflict(fmt.Sprintf("Backend %s is %s; a command runs only in one that has been started and hasn't ended.", id, s))
	}
	s := c.drones.session(b.Drone)
	if s == nil {
		return nil, plane.NewError(plane.Unavailable, fmt.Sprintf("Drone %s, where it runs, isn't connected.", b.Drone))
	}
	x := &Execution{
		c: c, actor: a, backend: b, request: r, began: time.Now(), session: s,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if err := s.execs.open(x); err != nil {
		return nil, err
	}
	// Nothing runs that the log doesn't know of.
	if err := x.log(context.WithoutCancel(ctx), eventExec, fmt.Sprintf("A command was run in it: %s.", r.line())); err != nil {
		s.execs.drop(x.id)
		return nil, fmt.Errorf("log command: %w", err)
	}
	c.use.commanded(id, time.Now())
	ask := wire.ExecAsk{ID: x.id, Backend: id, Argv: r.Argv, TTY: r.TTY, Rows: r.Rows, Cols: r.Cols, Actor: a.String()}
	if err := s.conn.Send(ask); err != nil {
		x.end(nil, "", errDroneLeft)
	}
	x.stop = context.AfterFunc(ctx, x.kill)
	return x, nil
}

var errDroneLeft = plane.NewError(plane.Unavailable, "The drone disconnected, which ended the command.")

func (r ExecRequest) check() *plane.Error {
	size := 0
	for _, arg := range r.Argv {
		size += len(arg) + 1
		if strings.ContainsRune(arg, 0) {
			return plane.Invalid("argv", "argv has a NUL byte, which no command line can hold.")
		}
	}
	switch {
	case len(r.Argv) == 0 || r.Argv[0] == "":
		return plane.Invalid("argv", "argv is empty; name the command to run.")
	case size > execArgv:
		return plane.Invalid("argv", fmt.Sprintf("argv has %d bytes; it may have %d.", size, execArgv))
	}
	return nil
}

// Next waits for output, which is taken as passed on by the next call; or for
// the last part, which has Exit or Error (a sentence). An error means that the
// connection to the drone was lost or ctx ended.
func (x *Execution) Next(ctx context.Context) (wire.ExecPart, error) {
	for {
		part, ok, err := x.next()
		if ok || err != nil {
			return part, err
		}
		select {
		case <-x.wake:
		case <-x.done:
		case <-ctx.Done():
			return wire.ExecPart{}, context.Cause(ctx)
		}
	}
}

func (x *Execution) next() (wire.ExecPart, bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.passed += x.reading
	x.reading = 0
	if x.passed >= wire.ExecWindow/4 && !x.ended {
		_ = x.session.conn.Send(wire.ExecPart{ID: x.id, Taken: x.passed})
		x.untold -= x.passed
		x.passed = 0
	}
	switch {
	case len(x.output) > 0:
		part := x.output[0]
		x.output[0] = wire.ExecPart{}
		x.output = x.output[1:]
		x.reading = int64(len(part.Data))
		return part, true, nil
	case x.ended && x.err != nil:
		return wire.ExecPart{}, false, x.err
	case x.ended:
		return wire.ExecPart{ID: x.id, Exit: x.exit, Error: x.refusal}, true, nil
	}
	return wire.ExecPart{}, false, nil
}

// Write gives input to the command. It waits while wire.ExecWindow bytes are
// under way; io.ErrClosedPipe: the command has ended.
func (x *Execution) Write(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		n := x.claim(len(p))
		if n == 0 {
			select {
			case <-x.room:
			case <-x.done:
				return io.ErrClosedPipe
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		// The message waits in a queue, p is the caller's again.
		if err := x.say(ctx, wire.ExecPart{Data: append([]byte(nil), p[:n]...)}); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// claim takes room for at most n bytes of input.
func (x *Execution) claim(n int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n = min(n, execPiece, int(wire.ExecWindow-x.underway))
	if x.ended {
		return 0
	}
	x.underway += int64(n)
	return n
}

// EndInput says that there is no more input.
func (x *Execution) EndInput() error { return x.say(context.Background(), wire.ExecPart{EOF: true}) }

// Resize tells the terminal's new size.
func (x *Execution) Resize(rows, cols uint16) error {
	return x.say(context.Background(), wire.ExecPart{Rows: rows, Cols: cols})
}

// say sends a part behind everything else: however much a caller sends, state
// is never held up by it.
func (x *Execution) say(ctx context.Context, m wire.ExecPart) error {
	select {
	case <-x.done:
		return io.ErrClosedPipe
	default:
	}
	m.ID = x.id
	return x.session.conn.SendBulk(ctx, m)
}

// Close kills the command if it runs still, and writes its end to the log.
func (x *Execution) Close() {
	x.closing.Do(func() {
		x.stop()
		x.kill()
		x.session.execs.drop(x.id)
		ctx, cancel := context.WithTimeout(context.Background(), execSays)
		defer cancel()
		if err := x.log(ctx, eventExecEnded, x.story()); err != nil {
			x.c.log.Warn("could not record that a command ended", "backend", x.backend.ID, "error", err)
		}
	})
}

// kill ends the command, whose asker has left.
func (x *Execution) kill() {
	if x.end(nil, "", errAskerLeft) {
		_ = x.session.conn.Send(wire.ExecPart{ID: x.id, Kill: true})
	}
}

var errAskerLeft = errors.New("whoever asked for it left")

// end notes how it ended and reports whether it ran until now.
func (x *Execution) end(exit *int, refusal string, err error) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return false
	}
	x.ended, x.exit, x.refusal, x.err = true, exit, refusal, err
	close(x.done)
	x.c.use.commanded(x.backend.ID, time.Now())
	return true
}

// part takes a piece from the drone; it never waits. It reports whether more
// may come.
func (x *Execution) part(m wire.ExecPart) bool {
	x.mu.Lock()
	if len(m.Data) > 0 && !x.ended {
		x.output = append(x.output, wire.ExecPart{ID: x.id, Data: m.Data, Stderr: m.Stderr})
		x.untold += int64(len(m.Data))
		signal(x.wake)
	}
	if m.Taken > 0 {
		x.underway = max(0, x.underway-m.Taken)
		signal(x.room)
	}
	flooded := x.untold > wire.ExecWindow
	x.mu.Unlock()
	switch {
	case m.Error != "":
		x.end(nil, asSentence(m.Error), nil)
	case m.Exit != nil:
		x.end(m.Exit, "", nil)
	case flooded:
		x.end(nil, "", plane.NewError(plane.Other, "The drone sent more output than it was asked for."))
		_ = x.session.conn.Send(wire.ExecPart{ID: x.id, Kill: true})
	default:
		return true
	}
	return false
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// log writes an event of the command.
func (x *Execution) log(ctx context.Context, kind, text string) error {
	b := x.backend
	err := x.c.store.Update(ctx, func(tx store.Tx) error {
		return tx.InsertEvent(store.Event{
			Kind: kind, Actor: x.actor.String(), Key: b.Key, Backend: b.ID, Generation: b.Generation, Node: b.Drone,
			RequestID: x.actor.RequestID, Text: text,
		})
	})
	if err == nil {
		x.c.hub.notify(topicEvents)
	}
	return err
}

// story tells of the command's end.
func (x *Execution) story() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var how string
	var e *plane.Error
	switch {
	case x.exit != nil:
		how = fmt.Sprintf("with exit code %d", *x.exit)
	case x.refusal != "":
		how = fmt.Sprintf("because %q", x.refusal)
	case errors.As(x.err, &e):
		how = fmt.Sprintf("because %q", e.Message)
	default:
		how = "because " + x.err.Error()
	}
	return fmt.Sprintf("Its command ended after %s %s: %s.", span(time.Since(x.began)), how, x.request.line())
}

// asSentence makes what a drone says one.
func asSentence(s string) string {
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return sentenceCase(s)
}

const lineShown = 500 // bytes

// line is the command as the log shows it.
func (r ExecRequest) line() string {
	words := make([]string, len(r.Argv))
	for i, arg := range r.Argv {
		words[i] = arg
		if arg == "" || strings.ContainsFunc(arg, func(c rune) bool { return c <= ' ' || c == '"' || c == '\'' || c > '~' }) {
			words[i] = fmt.Sprintf("%q", arg)
		}
	}
	line := strings.Join(words, " ")
	if len(line) > lineShown {
		line = strings.ToValidUTF8(line[:lineShown], "") + "…"
	}
	return line
}
