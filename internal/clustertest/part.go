package clustertest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Event is one line that a part prints with --json.
type Event struct {
	Event     string `json:"event"`
	API       string `json:"api,omitempty"`
	Proxy     string `json:"proxy,omitempty"`
	Time      string `json:"time,omitempty"`
	Key       string `json:"key,omitempty"`
	BackendID string `json:"backend_id,omitempty"`
	MS        int64  `json:"ms,omitempty"`
	Reason    string `json:"reason,omitempty"`
	ExitCode  *int   `json:"exit_code,omitempty"`
	Output    string `json:"output,omitempty"`
	App       string `json:"app,omitempty"`
	Path      string `json:"path,omitempty"`
	Replaced  int    `json:"replaced,omitempty"`
	Until     string `json:"until,omitempty"`
	Message   string `json:"message,omitempty"`
}

// Part is one running process of the plane binary.
type Part struct {
	Args []string
	Env  []string // beside the test's own
	Dir  string   // working directory

	t      TB
	cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex // guards the fields below
	events []Event
	stderr []byte
	wake   chan struct{}
}

// Start runs the plane binary with args. It is killed, alone, at the end of
// the test.
func Start(t TB, dir string, env []string, args ...string) *Part {
	t.Helper()
	p := &Part{Args: args, Env: env, Dir: dir, t: t}
	p.Restart()
	t.Cleanup(func() { p.Kill() })
	return p
}

// Restart runs the same command again, after the last one has ended.
func (p *Part) Restart() {
	p.t.Helper()
	cmd := exec.Command(Build(p.t).Plane, p.Args...)
	cmd.Dir = p.Dir
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.cmd, p.exited, p.events, p.stderr, p.wake = cmd, make(chan struct{}), nil, nil, make(chan struct{})
	exited := p.exited
	p.mu.Unlock()
	var readers sync.WaitGroup
	readers.Go(func() { p.readEvents(stdout) })
	readers.Go(func() { p.readStderr(stderr) })
	go func() {
		readers.Wait()
		_ = cmd.Wait()
		close(exited)
	}()
}

func (p *Part) readEvents(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 4<<20)
	for s.Scan() {
		var e Event
		if json.Unmarshal(s.Bytes(), &e) != nil {
			e = Event{Event: "text", Output: s.Text()}
		}
		p.mu.Lock()
		p.events = append(p.events, e)
		close(p.wake)
		p.wake = make(chan struct{})
		p.mu.Unlock()
	}
}

func (p *Part) readStderr(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		p.mu.Lock()
		p.stderr = append(p.stderr, buf[:n]...)
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Pid of the running process.
func (p *Part) Pid() int { return p.cmd.Process.Pid }

// Signal sends sig to the process alone.
func (p *Part) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Kill ends the process with SIGKILL and waits for its end.
func (p *Part) Kill() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Stop ends the process with SIGTERM and waits at most d for its end.
func (p *Part) Stop(d time.Duration) error {
	p.Signal(syscall.SIGTERM)
	return p.WaitExit(d)
}

// WaitExit waits at most d for the end of the process.
func (p *Part) WaitExit(d time.Duration) error {
	select {
	case <-p.exited:
		return nil
	case <-time.After(d):
		return fmt.Errorf("%v did not end within %v\n%s", p.Args, d, p.Stderr())
	}
}

// ExitCode of an ended process.
func (p *Part) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Stderr is what the process has printed there so far.
func (p *Part) Stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.stderr)
}

// Events are those printed so far.
func (p *Part) Events() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events[:len(p.events):len(p.events)]
}

// Await returns the first event, printed already or within d, that match accepts.
func (p *Part) Await(d time.Duration, match func(Event) bool) (Event, error) {
	deadline := time.After(d)
	seen := 0
	for {
		p.mu.Lock()
		events, wake, exited := p.events, p.wake, p.exited
		p.mu.Unlock()
		for ; seen < len(events); seen++ {
			if match(events[seen]) {
				return events[seen], nil
			}
		}
		select {
		case <-wake:
		case <-exited:
			p.mu.Lock()
			done := seen == len(p.events)
			p.mu.Unlock()
			if done {
				return Event{}, fmt.Errorf("%v ended\n%s", p.Args, p.Stderr())
			}
		case <-deadline:
			return Event{}, fmt.Errorf("%v: no such event within %v; have %+v\n%s", p.Args, d, events, p.Stderr())
		}
	}
}

// Dev is a running `plane dev`.
type Dev struct {
	*Part
	API     string // http://127.0.0.1:PORT
	Proxy   string // 127.0.0.1:PORT, to dial
	DataDir string
}

// StartDev runs `plane dev -- command` in a directory of the test, on ports
// of its own, and waits until it serves.
func StartDev(t TB, flags []string, command ...string) *Dev {
	t.Helper()
	d := &Dev{DataDir: filepath.Join(t.TempDir(), "data")}
	args := append([]string{"dev", "--json", "--data-dir", d.DataDir, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0"}, flags...)
	args = append(append(args, "--"), command...)
	d.Part = Start(t, t.TempDir(), nil, args...)
	t.Cleanup(func() { _ = d.Stop(20 * time.Second) }) // before Start's kill: ends the backends too
	d.AwaitListening()
	return d
}

// AwaitListening waits until a started or restarted `plane dev` serves.
func (d *Dev) AwaitListening() {
	d.t.Helper()
	e, err := d.Await(30*time.Second, func(e Event) bool { return e.Event == "listening" })
	if err != nil {
		d.t.Fatal(err)
	}
	d.API, d.Proxy = e.API, hostPort(e.Proxy)
}

func hostPort(url string) string {
	const scheme = "http://"
	s := url
	if len(s) > len(scheme) && s[:len(scheme)] == scheme {
		s = s[len(scheme):]
	}
	for len(s) > 0 && s[len(s)-1] == '/' {
		s = s[:len(s)-1]
	}
	if i := len("localhost"); len(s) > i && s[:i] == "localhost" {
		s = "127.0.0.1" + s[i:]
	}
	return s
}

// Backends are those that the API lists as not terminated.
func (d *Dev) Backends() []Backend {
	d.t.Helper()
	return ListBackends(d.t, d.API)
}

// Backend is what the tests look at of a listed backend.
type Backend struct {
	BackendID  string `json:"backend_id"`
	Generation int64  `json:"generation"`
	Status     string `json:"status"`
	Key        struct {
		Name string `json:"name"`
	} `json:"key"`
}

// ListBackends asks a controller for its backends that are not terminated.
func ListBackends(t TB, api string) []Backend {
	t.Helper()
	resp, err := http.Get(api + "/ctrl/backends?limit=1000")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page struct{ Backends []Backend }
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("list backends: %s %v", resp.Status, err)
	}
	var live []Backend
	for _, b := range page.Backends {
		if b.Status != "terminated" {
			live = append(live, b)
		}
	}
	return live
}

// LockHolder is the pid of the agent, warden or reaper.
func (d *Dev) LockHolder(part string) int { return LockHolder(d.DataDir, part) }
