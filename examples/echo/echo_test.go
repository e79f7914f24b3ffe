package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestMain lets the test binary be the program, so that processes can be
// tested without a build.
func TestMain(m *testing.M) {
	if os.Getenv("ECHO_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is a running echo.
type program struct {
	*exec.Cmd
	url   string
	lines *bufio.Scanner
	done  chan error // what Wait gave
}

func start(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), append(env, "ECHO_TEST_MAIN=1", "PORT=0", "HOST=127.0.0.1")...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{Cmd: c, lines: bufio.NewScanner(out), done: make(chan error, 1)}
	go func() {
		state, err := c.Process.Wait()
		if err == nil && !state.Success() {
			err = &exec.ExitError{ProcessState: state}
		}
		p.done <- err
	}()
	t.Cleanup(func() { _ = c.Process.Kill() })
	return p
}

// listening waits for the line that names the address.
func (p *program) listening(t *testing.T) *program {
	t.Helper()
	for p.lines.Scan() {
		if rest, ok := strings.CutPrefix(p.lines.Text(), "echo: listening on "); ok {
			addr, _, _ := strings.Cut(rest, ",")
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				t.Fatal(err)
			}
			p.url = "http://127.0.0.1:" + port
			return p
		}
	}
	t.Fatal("it never listened")
	return nil
}

func (p *program) ended(t *testing.T) *exec.ExitError {
	t.Helper()
	select {
	case err := <-p.done:
		exit, ok := err.(*exec.ExitError)
		if err != nil && !ok {
			t.Fatal(err)
		}
		return exit
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end")
		return nil
	}
}

func post(t *testing.T, url string) string {
	t.Helper()
	return do(t, http.MethodPost, url, "")
}

func do(t *testing.T, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s: %s", method, url, resp.Status, b)
	}
	return string(b)
}

func serve(t *testing.T) string {
	t.Helper()
	ts := httptest.NewServer((&server{started: time.Now()}).routes())
	t.Cleanup(ts.Close)
	return ts.URL
}

func TestAnswers(t *testing.T) {
	url := serve(t)
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/health", "", "ok\n"},
		{"POST", "/anything", "a body", "a body"},
		{"GET", "/some/where?x=1", "", fmt.Sprintf("GET /some/where?x=1 from key \"\", generation -, pid %d\n", os.Getpid())},
		{"GET", "/pid", "", fmt.Sprintln(os.Getpid())},
		{"GET", "/slow?ms=1", "", "at last\n"},
		{"GET", "/source?bytes=5", "", "\x00\x00\x00\x00\x00"},
		{"POST", "/sink", "12345", "5\n"},
		{"GET", "/sse?every=1ms&count=2", "", "id: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"},
	} {
		if got := do(t, c.method, url+c.path, c.body); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

func TestStateCounts(t *testing.T) {
	url := serve(t)
	post(t, url+"/state")
	post(t, url+"/state")
	var got struct{ Count, Pid int }
	if err := json.Unmarshal([]byte(do(t, "GET", url+"/state", "")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Count != 2 || got.Pid != os.Getpid() {
		t.Errorf("state %+v, want count 2 of pid %d", got, os.Getpid())
	}
}

func TestWebSocketEchoes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, serve(t)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		if err := c.Write(ctx, kind, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		got, b, err := c.Read(ctx)
		if err != nil || got != kind || string(b) != "hello" {
			t.Errorf("%v %q %v, want hello back", got, b, err)
		}
	}
}

func TestOptionsComeFromFlagsAndEnvironment(t *testing.T) {
	env := map[string]string{"PORT": "81", "ECHO_SLOW_START": "2s", "ECHO_EXIT": "3"}
	o, err := parseOptions([]string{"--exit", "4"}, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	if o.listen != "127.0.0.1:81" || o.slowStart != 2*time.Second || o.exit != 4 {
		t.Errorf("%+v", o)
	}
	env["ECHO_FLOOD"] = "many"
	if _, err := parseOptions(nil, func(k string) string { return env[k] }); err == nil {
		t.Error("a wrong value in the environment is no error")
	}
}

func TestSIGTERMEndsIt(t *testing.T) {
	p := start(t, nil).listening(t)
	_ = p.Process.Signal(syscall.SIGTERM)
	if exit := p.ended(t); exit != nil {
		t.Errorf("%v, want exit code 0", exit)
	}
}

func TestSIGTERMIsIgnoredOnRequest(t *testing.T) {
	p := start(t, nil).listening(t)
	post(t, p.url+"/ignore-term")
	_ = p.Process.Signal(syscall.SIGTERM)
	for p.lines.Scan() {
		if strings.HasSuffix(p.lines.Text(), "ignored") {
			break
		}
	}
	do(t, "GET", p.url+"/health", "")
	_ = p.Process.Kill()
	p.ended(t)
}

func TestEndsAsAsked(t *testing.T) {
	for _, c := range []struct {
		path   string
		code   int
		signal syscall.Signal
	}{
		{"/exit?code=3", 3, -1},
		{"/crash", -1, syscall.SIGKILL},
		{"/crash?how=abort", -1, syscall.SIGABRT},
		{"/crash?how=panic", 2, -1},
	} {
		p := start(t, []string{"GOTRACEBACK="}).listening(t)
		post(t, p.url+c.path)
		exit := p.ended(t)
		if exit == nil {
			t.Errorf("%s: exit code 0", c.path)
			continue
		}
		if ws := exit.Sys().(syscall.WaitStatus); ws.ExitStatus() != c.code || ws.Signal() != c.signal {
			t.Errorf("%s: code %d signal %v, want %d %v", c.path, ws.ExitStatus(), ws.Signal(), c.code, c.signal)
		}
	}
}

func TestSpoiltStarts(t *testing.T) {
	if exit := start(t, []string{"ECHO_EXIT=7"}).ended(t); exit == nil || exit.ExitCode() != 7 {
		t.Errorf("--exit 7: %v", exit)
	}
	p := start(t, nil, "--never-listen", "--flood", "3")
	var got []string
	for len(got) < 4 && p.lines.Scan() {
		got = append(got, strings.TrimRight(p.lines.Text(), ". "))
	}
	want := "flood 00000001|flood 00000002|flood 00000003|echo: not listening"
	if strings.Join(got, "|") != want {
		t.Errorf("output %q, want %q", got, want)
	}
	_ = p.Process.Signal(syscall.SIGTERM)
	p.ended(t)
}

func TestGrandchildrenOutliveIt(t *testing.T) {
	for _, kind := range []string{plainChild, setsidChild, doubleFork} {
		p := start(t, nil).listening(t)
		pid, err := strconv.Atoi(strings.TrimSpace(post(t, p.url+"/grandchild?kind="+kind)))
		if err != nil {
			t.Fatal(err)
		}
		_ = p.Process.Kill()
		p.ended(t)
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestInheritedListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	// LISTEN_PID must be the child's, which only a shell in between knows.
	c := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	c.Env = append(os.Environ(), "ECHO_TEST_MAIN=1", "LISTEN_FDS=1")
	c.ExtraFiles = []*os.File{f}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	_ = l.Close()
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	if got := do(t, "GET", "http://"+l.Addr().String()+"/pid", ""); strings.TrimSpace(got) != strconv.Itoa(c.Process.Pid) {
		t.Errorf("pid %s answered on the inherited listener, want %d", got, c.Process.Pid)
	}
}

func TestHoldsGoToTheBackendsSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	hs := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.Path + " " + string(b)
	})}
	go func() { _ = hs.Serve(l) }()
	defer hs.Close()
	t.Setenv("SESSION_BACKEND_SOCKET", path)
	post(t, serve(t)+"/hold?name=job&seconds=5")
	if g, want := <-got, `PUT /v1/holds/job {"seconds":5,"reason":"asked to"}`; g != want {
		t.Errorf("%s, want %s", g, want)
	}
}
