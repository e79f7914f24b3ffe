package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"plane"
	"plane/internal/controller"
	"plane/internal/drone"
)

// console shows what happens in `plane dev`: lines for people, or JSON lines.
type console struct {
	json  bool
	quiet bool // without the output of programs
	painter
	ended func(plane.Key, plane.BackendID) // told of ends that nobody asked for; nil = nobody is

	mu    sync.Mutex // guards the fields below
	out   io.Writer
	early []string // JSON lines before the one that must come first; nil = none wait
	// begun are the backends that were ready, or ran before. Of one that never
	// was, the last output is what people need.
	begun  map[plane.BackendID]bool
	warned map[string]bool // what was said of a key already
}

const (
	mostWarned = 1000 // then it may be said again
	mostEarly  = 1000 // lines; a program that reads them waits for the first one
)

func newConsole(out *os.File, asJSON bool) *console {
	c := &console{json: asJSON, painter: colorOf(out), out: out, begun: map[plane.BackendID]bool{}, warned: map[string]bool{}}
	if asJSON {
		c.early = []string{}
	}
	return c
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
	Apps      []shownApp      `json:"apps,omitempty"`
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
	App       string          `json:"app,omitempty"`
	Path      string          `json:"path,omitempty"`     // that changed
	Replaced  *int            `json:"replaced,omitempty"` // backends, for a change
	Until     string          `json:"until,omitempty"`    // of crash_loop: no start before
}

func (c *console) emit(e event) {
	e.Time = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	b, err := json.Marshal(e)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.early != nil && e.Event != "listening" && len(c.early) < mostEarly {
		c.early = append(c.early, string(b))
		return
	}
	c.lineLocked(string(b))
	c.releaseLocked()
}

// release prints what waited for "listening" if that never came.
func (c *console) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releaseLocked()
}

func (c *console) releaseLocked() {
	for _, s := range c.early {
		c.lineLocked(s)
	}
	c.early = nil
}

func (c *console) line(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lineLocked(s)
}

func (c *console) lineLocked(s string) {
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
func (c *console) listening(at listening, apps []shownApp) {
	if c.json {
		c.emit(event{Event: "listening", API: at.API, Proxy: at.Proxy, Apps: apps})
		return
	}
	text := c.paint(green, "ready")
	for i, a := range apps {
		if i > 0 {
			text += "\n     "
		}
		text += "  " + c.paint("1", a.URL) + "  " + a.Runs
	}
	c.line(fmt.Sprintf("%s\n       each KEY has its own backend · all of them: %s/\n       API %s · Ctrl-C ends everything", text, at.Proxy, at.API))
}

// note is one line for people that is no event of a backend.
func (c *console) note(s string) {
	if !c.json {
		c.line(c.paint(yellow, s))
	}
}

// warn is something that people should mend.
func (c *console) warn(s string) {
	if c.json {
		c.emit(event{Event: "warning", Output: s})
		return
	}
	c.line(c.paint(yellow, "warning: "+s))
}

// closed is the last line.
func (c *console) closed() {
	if c.json {
		c.emit(event{Event: "closed"})
		return
	}
	c.note("all backends have ended; what keys keep is there the next time")
}

// change is why backends of an app are replaced.
type change struct {
	App      string
	Key      *plane.Key // if it is about one
	Path     string
	Replaced int
	Text     string
}

func (c *console) changed(x change) {
	if !c.json {
		c.line(c.paint(blue, x.Text))
		return
	}
	e := event{Event: "changed", App: x.App, Path: x.Path, Replaced: &x.Replaced, Message: x.Text}
	if x.Key != nil {
		e.Key = &x.Key.Name
	}
	c.emit(e)
}

// gaveUp tells that a key isn't started for a while.
func (c *console) gaveUp(key plane.Key, id plane.BackendID, x controller.CrashView, until time.Time) {
	if c.json {
		c.emit(event{Event: "crash_loop", Key: &key.Name, BackendID: id, Until: until.UTC().Format(time.RFC3339), Output: x.Output})
		return
	}
	c.line(c.paint(red, fmt.Sprintf("[%s] gave up until %s: it ended %d times soon after its start; mend the program, then open the page again (plane why %s)",
		shown(key), until.Local().Format("15:04:05"), x.Count, key)))
}

// Observe shows a moment in a backend's life.
func (c *console) Observe(m drone.Moment) {
	if c.repeated(m) || c.quiet && m.Kind == drone.MomentOutput {
		return
	}
	began := c.remember(m)
	if m.Kind == drone.MomentEnded && c.ended != nil && m.State.Reason != plane.External && m.State.Reason != plane.Swept {
		c.ended(m.Key, m.Backend)
	}
	if c.json {
		c.observeJSON(m, began)
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
		text := c.paint(endColor(m.State), at+" "+ending(m.State))
		if last := lastOutput(m.State); c.quiet && !began && last != "" {
			text += "\n" + indent(last) // else it stands right above
		}
		c.line(text)
	}
}

// repeated reports whether a warning was given for that key before.
func (c *console) repeated(m drone.Moment) bool {
	if m.Kind != drone.MomentWarning {
		return false
	}
	said := m.Key.String() + "\x00" + m.Line
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.warned[said] {
		return true
	}
	if len(c.warned) >= mostWarned {
		clear(c.warned)
	}
	c.warned[said] = true
	return false
}

// remember notes what was ready, and reports whether this backend was.
func (c *console) remember(m drone.Moment) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := c.begun[m.Backend]
	switch m.Kind {
	case drone.MomentReady, drone.MomentAdopted:
		c.begun[m.Backend] = true
	case drone.MomentEnded:
		delete(c.begun, m.Backend)
	}
	return began
}

func (c *console) observeJSON(m drone.Moment, began bool) {
	e := event{Event: string(m.Kind), Key: &m.Key.Name, BackendID: m.Backend, App: m.App}
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
		if !began {
			e.Output = lastOutput(m.State)
		}
	}
	c.emit(e)
}

func lastOutput(s plane.State) string {
	if s.Exit == nil {
		return ""
	}
	return strings.TrimRight(s.Exit.Output, "\n")
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

// ending says in words how a backend ended, as what follows "it".
func ending(s plane.State) string {
	x := s.Exit
	if x == nil {
		x = &plane.Exit{}
	}
	switch {
	case x.Message != "":
		return "ended: " + x.Message
	case s.Reason == "":
		return "ended by itself " + x.How()
	case s.Reason == plane.StartupTimeout:
		return "ended, because it wasn't ready in time; a program must listen on 127.0.0.1:$PORT"
	case s.Exit == nil, s.Reason == plane.Lost:
		return "ended: " + s.Reason.Phrase()
	}
	return "ended " + x.How() + ", because " + s.Reason.Phrase()
}
