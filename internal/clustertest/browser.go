package clustertest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// Chromium is the browser that pages are tested in; `make test` installs it.
const Chromium = "/usr/bin/chromium"

// pageTimeout is how long a page may take for anything, on a machine that does
// other things too.
const pageTimeout = 30 * time.Second

// Skipper is a TB that can be skipped.
type Skipper interface {
	TB
	Skip(args ...any)
}

// Browser is a real one, driven over its DevTools protocol.
type Browser struct {
	t    TB
	conn *websocket.Conn

	mu      sync.Mutex // guards the fields below
	lastID  int64
	answers map[int64]chan devtoolsMessage
	console map[string][]string // by session
	gone    error
}

type devtoolsMessage struct {
	ID      int64           `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// StartBrowser runs Chromium without a window until the test's end. Without
// one the test is skipped, or fails where CI is set.
func StartBrowser(t Skipper, flags ...string) *Browser {
	t.Helper()
	if _, err := os.Stat(Chromium); err != nil {
		Missing(t, "Chromium")
	}
	args := append([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--disable-renderer-backgrounding", "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows",
		"--hide-scrollbars", "--user-data-dir=" + t.TempDir(), "--remote-debugging-port=0",
	}, flags...)
	cmd := exec.Command(Chromium, append(args, "about:blank")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-read
		_ = cmd.Wait()
	})
	endpoint := make(chan string, 1)
	go func() {
		defer close(read)
		s := bufio.NewScanner(stderr)
		for s.Scan() {
			if _, url, ok := strings.Cut(s.Text(), "DevTools listening on "); ok {
				endpoint <- url
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
	}()
	b := &Browser{t: t, answers: map[int64]chan devtoolsMessage{}, console: map[string][]string{}}
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	defer cancel()
	select {
	case url := <-endpoint:
		if b.conn, _, err = websocket.Dial(ctx, url, nil); err != nil {
			t.Fatal(err)
		}
	case <-ctx.Done():
		t.Fatal("Chromium doesn't start")
	}
	b.conn.SetReadLimit(64 << 20)
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		b.listen()
	}()
	t.Cleanup(func() {
		_ = b.conn.CloseNow()
		<-listened
	})
	return b
}

func (b *Browser) listen() {
	for {
		_, raw, err := b.conn.Read(context.Background())
		var m devtoolsMessage
		if err == nil {
			err = json.Unmarshal(raw, &m)
		}
		b.mu.Lock()
		switch {
		case err != nil:
			b.gone = err
			for _, c := range b.answers {
				close(c)
			}
			b.answers = nil
		case m.ID != 0:
			if c := b.answers[m.ID]; c != nil {
				c <- m
				delete(b.answers, m.ID)
			}
		case m.Method == "Runtime.exceptionThrown" || m.Method == "Runtime.consoleAPICalled" || m.Method == "Log.entryAdded":
			b.console[m.Session] = append(b.console[m.Session], logged(m.Params))
		}
		b.mu.Unlock()
		if err != nil {
			return
		}
		if m.Method == "Page.javascriptDialogOpening" { // such as: leave this page?
			_, _ = b.send(m.Session, "Page.handleJavaScriptDialog", map[string]any{"accept": true})
		}
	}
}

// logged is what people look at of a line of a page's log.
func logged(params json.RawMessage) string {
	var p struct {
		Entry struct{ Text, URL string }
		Args  []struct {
			Value       json.RawMessage
			Description string
		}
		Exception struct {
			Text      string
			Exception struct{ Description string }
		} `json:"exceptionDetails"`
	}
	if err := json.Unmarshal(params, &p); err != nil {
		return string(params)
	}
	line := []string{p.Entry.Text, p.Entry.URL, p.Exception.Text, p.Exception.Exception.Description}
	for _, a := range p.Args {
		line = append(line, string(a.Value), a.Description)
	}
	text := strings.Join(strings.Fields(strings.Join(line, " ")), " ")
	const most = 2000
	return text[:min(len(text), most)]
}

// call asks the browser, or with a session one of its pages.
func (b *Browser) call(session, method string, params, result any) error {
	answer, err := b.send(session, method, params)
	if err != nil {
		return err
	}
	return b.wait(method, answer, result)
}

// send is the first half of call: what is sent next arrives later.
func (b *Browser) send(session, method string, params any) (<-chan devtoolsMessage, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	answer := make(chan devtoolsMessage, 1)
	b.mu.Lock()
	if b.gone != nil {
		defer b.mu.Unlock()
		return nil, fmt.Errorf("%s: the browser is gone: %w", method, b.gone)
	}
	b.lastID++
	id := b.lastID
	b.answers[id] = answer
	b.mu.Unlock()
	raw, err := json.Marshal(devtoolsMessage{ID: id, Session: session, Method: method, Params: p})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	defer cancel()
	if err := b.conn.Write(ctx, websocket.MessageText, raw); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return answer, nil
}

// wait is the second half of call.
func (b *Browser) wait(method string, answer <-chan devtoolsMessage, result any) error {
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("%s: the browser is gone", method)
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-time.After(pageTimeout):
		return fmt.Errorf("%s: no answer within %v", method, pageTimeout)
	}
}

// Page is one open page, in a window of its own.
type Page struct {
	b       *Browser
	session string
}

// Open opens url. It doesn't wait until it is loaded: see Await.
func (b *Browser) Open(url string, width, height int) *Page {
	b.t.Helper()
	var target struct {
		ID string `json:"targetId"`
	}
	b.must(b.call("", "Target.createTarget", map[string]any{"url": "about:blank", "newWindow": true, "width": width, "height": height}, &target))
	var at struct {
		Session string `json:"sessionId"`
	}
	b.must(b.call("", "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &at))
	p := &Page{b: b, session: at.Session}
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		p.Do(domain+".enable", map[string]any{}, nil)
	}
	p.Do("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	p.Do("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, nil)
	p.Goto(url)
	return p
}

func (b *Browser) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// Do calls a method of the DevTools protocol for the page.
func (p *Page) Do(method string, params map[string]any, result any) {
	p.b.t.Helper()
	p.b.must(p.b.call(p.session, method, params, result))
}

// Goto opens url in the page.
func (p *Page) Goto(url string) {
	p.b.t.Helper()
	p.Do("Page.navigate", map[string]any{"url": url}, nil)
}

// Eval runs JavaScript in the page, waits for what it promises, and puts its
// value, as JSON, into result, unless that is nil.
func (p *Page) Eval(script string, result any) {
	p.b.t.Helper()
	if err := p.TryEval(script, result); err != nil {
		p.b.t.Fatalf("%v\nconsole: %s", err, strings.Join(p.Console(), "\n"))
	}
}

// TryEval is Eval for a page that may be loading.
func (p *Page) TryEval(script string, result any) error {
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	params := map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true}
	if err := p.b.call(p.session, "Runtime.evaluate", params, &answer); err != nil {
		return err
	}
	if e := answer.Exception; e != nil {
		return fmt.Errorf("page: %s %s", e.Text, e.Exception.Description)
	}
	if result == nil || len(answer.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(answer.Result.Value, result)
}

// Await waits until the expression is true in the page; what says what that means.
func (p *Page) Await(what, expression string) {
	p.b.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(pageTimeout); ; <-tick.C {
		var is bool
		err := p.TryEval("!!("+expression+")", &is)
		if err == nil && is {
			return
		}
		if time.Now().After(end) {
			var text string
			_ = p.TryEval("location.href + '\\n' + document.body.innerText", &text)
			p.b.t.Fatalf("the page never had: %s (%v)\nit shows: %s\nconsole: %s", what, err, text, strings.Join(p.Console(), "\n"))
		}
	}
}

// Console is what the page has logged, with errors that nobody caught.
func (p *Page) Console() []string {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return append([]string(nil), p.b.console[p.session]...)
}

// Drag presses the mouse at the first point, moves over the others, and lets
// go at the last one: fast, so that a page gets several moves in one event.
func (p *Page) Drag(points ...[2]float64) {
	p.b.t.Helper()
	const method = "Input.dispatchMouseEvent"
	var answers []<-chan devtoolsMessage
	mouse := func(kind string, at [2]float64, buttons int) {
		p.b.t.Helper()
		m := map[string]any{"type": kind, "x": at[0], "y": at[1], "buttons": buttons}
		if kind != "mouseMoved" {
			m["button"], m["clickCount"] = "left", 1
		}
		answer, err := p.b.send(p.session, method, m)
		p.b.must(err)
		answers = append(answers, answer)
	}
	mouse("mouseMoved", points[0], 0)
	mouse("mousePressed", points[0], 1)
	for _, at := range points[1:] {
		mouse("mouseMoved", at, 1)
	}
	mouse("mouseReleased", points[len(points)-1], 0)
	for _, answer := range answers {
		p.b.must(p.b.wait(method, answer, nil))
	}
}

// Move moves the mouse there.
func (p *Page) Move(x, y float64) {
	p.b.t.Helper()
	p.Do("Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": x, "y": y}, nil)
}

// Scheme lets the page be seen as by somebody who prefers dark, or light, pages.
func (p *Page) Scheme(darkOrLight string) {
	p.b.t.Helper()
	p.Do("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": darkOrLight}}}, nil)
}

// Screenshot is the page as a PNG.
func (p *Page) Screenshot() []byte {
	p.b.t.Helper()
	var shot struct {
		Data string `json:"data"`
	}
	p.Do("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	p.b.must(err)
	return png
}

// Close closes the page.
func (p *Page) Close() {
	p.b.t.Helper()
	p.Do("Page.close", map[string]any{}, nil)
}
