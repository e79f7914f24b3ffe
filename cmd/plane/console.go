package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"plane"
	"plane/internal/drone"
)

// console shows what happens in `plane dev`: lines for people, or JSON lines.
type console struct {
	json bool
	painter

	mu  sync.Mutex // guards out
	out io.Writer
}

func newConsole(out *os.File, asJSON bool) *console {
	return &console{json: asJSON, painter: colorOf(out), out: out}
}

// painter colours text, if it is true.
type painter bool

// colorOf paints on terminals only.
func colorOf(out io.Writer) painter {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	st, err := f.Stat()
	return painter(err == nil && st.Mode()&os.ModeCharDevice != 0)
}

// event is one line of --json.
type event struct {
	Event     string          `json:"event"`
	API       string          `json:"api,omitempty"`
	Proxy     string          `json:"proxy,omitempty"`
	Time      string          `json:"time"`
	Key       *string         `json:"key,omitempty"`
	BackendID plane.BackendID `json:"backend_id,omitempty"`
	MS        *int64          `json:"ms,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	ExitCode  *int            `json:"exit_code,omitempty"`
	Signal    string          `json:"signal,omitempty"`
	OOM       bool            `json:"oom,omitempty"`
	Message   string          `json:"message,omitempty"` // how it ended, for people
	Output    string          `json:"output,omitempty"`
}

func (c *console) emit(e event) {
	e.Time = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	b, err := json.Marshal(e)
	if err != nil {
		return
	}
	c.line(string(b))
}

func (c *console) line(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = io.WriteString(c.out, s+"\n") // a closed terminal must not end backends
}

func (p painter) paint(code, s string) string {
	if !p {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

const (
	green  = "32"
	yellow = "33"
	red    = "31"
	blue   = "34"
	dim    = "2"
)

// listening tells where to go.
func (c *console) listening(api, proxy, keyURL, command string) {
	if c.json {
		c.emit(event{Event: "listening", API: api, Proxy: proxy})
		return
	}
	c.line(fmt.Sprintf("%s  %s\n       each KEY has its own backend: %s\n       API %s · Ctrl-C ends everything",
		c.paint(green, "ready"), c.paint("1", keyURL), command, api))
}

// note is one line for people that is no event of a backend.
func (c *console) note(s string) {
	if !c.json {
		c.line(c.paint(yellow, s))
	}
}

// Observe shows a moment in a backend's life.
func (c *console) Observe(m drone.Moment) {
	if c.json {
		c.observeJSON(m)
		return
	}
	at := "[" + shown(m.Key) + "]"
	switch m.Kind {
	case drone.MomentOutput:
		c.line(c.paint(dim, at) + " " + m.Line)
	case drone.MomentAdopted:
		c.line(c.paint(blue, at+" still running: taken over as it is"))
	case drone.MomentStarted:
		c.line(c.paint(blue, at+" starting"))
	case drone.MomentReady:
		c.line(c.paint(green, fmt.Sprintf("%s ready after %d ms", at, m.Took.Milliseconds())))
	case drone.MomentIdle:
		c.line(c.paint(yellow, at+" idle: nobody uses it, it is stopped"))
	case drone.MomentWarning:
		c.line(c.paint(yellow, at+" warning: "+m.Line))
	case drone.MomentEnded:
		c.line(c.paint(endColor(m.State), at+" ended: "+ending(m.State)))
	}
}

func (c *console) observeJSON(m drone.Moment) {
	e := event{Event: string(m.Kind), Key: &m.Key.Name, BackendID: m.Backend}
	switch m.Kind {
	case drone.MomentReady:
		ms := m.Took.Milliseconds()
		e.MS = &ms
	case drone.MomentOutput, drone.MomentWarning:
		e.Output = m.Line
	case drone.MomentEnded:
		e.Reason, e.Message = string(m.State.Reason), ending(m.State)
		if x := m.State.Exit; x != nil {
			e.ExitCode, e.Signal, e.OOM = x.Code, x.Signal, x.OOM
		}
	}
	c.emit(e)
}

func shown(k plane.Key) string {
	if k.Name == "" {
		return `""`
	}
	return k.String()
}

func endColor(s plane.State) string {
	if s.Reason == "" && s.ExitError() || s.Exit != nil && s.Exit.Message != "" {
		return red
	}
	return yellow
}

// ending says in words how a backend ended.
func ending(s plane.State) string {
	why := map[plane.Reason]string{
		plane.Swept:          "idle or at its lifetime limit",
		plane.External:       "asked to",
		plane.KeyExpired:     "its lease ran out",
		plane.Lost:           "nothing of it was found",
		plane.StartupTimeout: "not ready in time; a program must listen on 127.0.0.1:$PORT",
		plane.InternalError:  "watching it failed",
		"":                   "by itself",
	}[s.Reason]
	x := s.Exit
	switch {
	case x == nil:
		return why
	case x.Message != "":
		return x.Message
	case x.OOM:
		return why + ", out of memory"
	case x.Signal != "":
		return why + ", " + x.Signal
	case x.Code == nil:
		return why + ", exit code unknown"
	}
	return fmt.Sprintf("%s, exit code %d", why, *x.Code)
}
