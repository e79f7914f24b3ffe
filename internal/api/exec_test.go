package api_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"plane"
	"plane/client"
	"plane/internal/api"
	"plane/internal/api/apitest"
)

// execSite is a site with one backend, "one", of a scripted drone.
func execSite(t *testing.T) (*apitest.Site, *apitest.Drone) {
	t.Helper()
	s := apitest.New(t, api.Options{Insecure: true})
	d := s.StartDrone(t, nil)
	if resp, answer := s.Do(t, "POST", "/ctrl/connect", `{"key":{"name":"one"},"spawn_config":{"id":"one",`+spawnEcho+`},"wait":"ready"}`); resp.StatusCode != http.StatusOK {
		t.Fatal(answer)
	}
	return s, d
}

func clientOf(t *testing.T, s *apitest.Site) *client.Client {
	t.Helper()
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func run(t *testing.T, c *client.Client, cmd client.Command) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return c.Exec(ctx, "one", cmd)
}

func TestACommandsOutputAndExitCodeComeThrough(t *testing.T) {
	s, _ := execSite(t)
	c := clientOf(t, s)
	var out, errs bytes.Buffer
	code, err := run(t, c, client.Command{Argv: []string{"say", "a  b", "&c="}, Stdout: &out, Stderr: &errs})
	if code != 0 || err != nil || out.String() != "a  b &c=\n" || errs.String() != "oops\n" {
		t.Errorf("exit %d, %v, %q, %q", code, err, out.String(), errs.String())
	}
	if code, err := run(t, c, client.Command{Argv: []string{"exit", "42"}}); code != 42 || err != nil {
		t.Errorf("exit %d, %v", code, err)
	}
	_, err = run(t, c, client.Command{Argv: []string{"nothing"}})
	if !plane.IsKind(err, plane.Unavailable) || !strings.Contains(err.Error(), `There is no program "nothing" in it.`) {
		t.Error(err)
	}
	var events []client.Event
	if err := c.Events(t.Context(), 0, func(e client.Event) error { events = append(events, e); return nil }); err != nil {
		t.Fatal(err)
	}
	said := false
	for _, e := range events {
		said = said || e.Actor == "loopback" && e.BackendID == "one" && strings.Contains(e.Text, "exit 42")
	}
	if !said {
		t.Errorf("the log doesn't say who ran what: %+v", events)
	}
}

func TestInputReachesACommandToItsEnd(t *testing.T) {
	s, _ := execSite(t)
	in := bytes.Repeat([]byte("0123456789abcdef"), 128<<10) // 2 MiB: eight windows
	var out bytes.Buffer
	code, err := run(t, clientOf(t, s), client.Command{Argv: []string{"cat"}, Stdin: bytes.NewReader(in), Stdout: &out})
	if code != 0 || err != nil || !bytes.Equal(out.Bytes(), in) {
		t.Errorf("exit %d, %v, %d bytes", code, err, out.Len())
	}
}

// slowly takes what it gets piece by piece.
type slowly struct{ n int }

func (s *slowly) Write(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	s.n += len(b)
	return len(b), nil
}

func TestOutputWaitsForASlowReader(t *testing.T) {
	s, _ := execSite(t)
	var out slowly
	code, err := run(t, clientOf(t, s), client.Command{Argv: []string{"flood", "4194304"}, Stdout: &out})
	if code != 0 || err != nil || out.n != 4<<20 {
		t.Errorf("exit %d, %v, %d bytes", code, err, out.n)
	}
}

func TestATerminalsSizeFollows(t *testing.T) {
	s, _ := execSite(t)
	in, keys := io.Pipe()
	shown, out := io.Pipe()
	sizes := make(chan client.TerminalSize)
	ended := make(chan error, 1)
	go func() {
		_, err := run(t, clientOf(t, s), client.Command{
			Argv: []string{"size"}, TTY: true, Rows: 24, Cols: 80, Resize: sizes, Stdin: in, Stdout: out,
		})
		_ = out.Close()
		ended <- err
	}()
	expect := func(want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(shown, b); err != nil || string(b) != want {
			t.Fatalf("%q, %v; want %q", b, err, want)
		}
	}
	expect("24 x 80\n")
	sizes <- client.TerminalSize{Rows: 50, Cols: 132}
	expect("50 x 132\n")
	if _, err := io.WriteString(keys, "q"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestACommandEndsWithItsAsker covers an asker whose input the command doesn't
// take: nobody reads from the connection then.
func TestACommandEndsWithItsAsker(t *testing.T) {
	s, d := execSite(t)
	for name, in := range map[string]io.Reader{"no input": nil, "much input": endless{}} {
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := clientOf(t, s).Exec(ctx, "one", client.Command{Argv: []string{"hang"}, Stdin: in})
			ended <- err
		}()
		eventually(t, name+": it doesn't run", func() bool { return d.Commands() == 1 })
		leave()
		if err := <-ended; err == nil {
			t.Errorf("%s: no error", name)
		}
		eventually(t, name+": it runs on", func() bool { return d.Commands() == 0 })
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestWhatCantBecomeASocketRunsNothing(t *testing.T) {
	s, d := execSite(t)
	socket := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	with := func(more ...string) []string { return append(more, socket...) }
	for name, c := range map[string]struct {
		path, says string
		header     []string
		status     int
	}{
		"no upgrade":     {"one/exec?argv=hang", "This route is a WebSocket", nil, 426},
		"a page":         {"one/exec?argv=hang", "web pages", with("Origin", "https://evil.example"), 403},
		"a foreign site": {"one/exec?argv=hang", "other sites", with("Sec-Fetch-Site", "cross-site"), 403},
		"no command":     {"one/exec", "argv is missing", socket, 422},
		"an empty one":   {"one/exec?argv=", "argv is empty", socket, 422},
		"NUL":            {"one/exec?argv=a%00", "NUL", socket, 422},
		"a wrong size":   {"one/exec?argv=hang&rows=-1", "rows is", socket, 422},
		"a wrong name":   {"one/exec?argv=hang&ttty=1", "did you mean", socket, 422},
		"nobody":         {"nobody/exec?argv=hang", "Backend does not exist", socket, 404},
		"POST":           {"", "", nil, 405},
	} {
		method, path := "GET", "/ctrl/b/"+c.path
		if c.path == "" {
			method, path = "POST", "/ctrl/b/one/exec?argv=hang"
		}
		resp, answer := s.Do(t, method, path, "", c.header...)
		if resp.StatusCode != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, answer)
		}
	}
	if n := d.Commands(); n != 0 {
		t.Errorf("%d commands run", n)
	}
}

func TestOnlyWhatRunsTakesCommands(t *testing.T) {
	s, d := execSite(t)
	c := clientOf(t, s)
	if err := c.Terminate(t.Context(), "one", plane.Soft); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitEnded(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	_, err := run(t, c, client.Command{Argv: []string{"say"}})
	if err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Error(err)
	}
	if d.Commands() != 0 {
		t.Error("a command runs")
	}
}

func TestCommandsNeedTheirVerb(t *testing.T) {
	s := apitest.New(t, api.Options{})
	op := operatorOf(t, s)
	secret := func(grants ...string) string {
		key, err := op.CreateAPIKey(t.Context(), "k", grants)
		if err != nil {
			t.Fatal(err)
		}
		return key.Secret
	}
	node := secret("node")
	s.StartDrone(t, http.Header{"Authorization": {"Bearer " + node}})
	if _, err := op.Connect(t.Context(), client.ConnectRequest{
		Key: &plane.Key{Namespace: "a", Name: "k"}, Wait: "ready",
		Spawn: &plane.Spec{ID: ptr("one"), Executable: []byte(`{"command":["/bin/echo"]}`)},
	}); err != nil {
		t.Fatal(err)
	}
	for _, g := range []struct {
		grants []string
		may    bool
	}{
		{[]string{"exec"}, true},
		{[]string{"exec:a/*"}, true},
		{[]string{"*"}, true},
		{[]string{"exec:b/*"}, false},
		{[]string{"read", "connect", "terminate", "app", "data", "drain", "api-key"}, false},
	} {
		c, err := client.New(s.URL, client.Options{APIKey: secret(g.grants...)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = run(t, c, client.Command{Argv: []string{"exit", "0"}})
		if (err == nil) != g.may || !g.may && (!plane.IsKind(err, plane.Forbidden) || !strings.Contains(err.Error(), "exec:a/*")) {
			t.Errorf("%v: %v", g.grants, err)
		}
	}
	if _, err := run(t, clientOf(t, s), client.Command{Argv: []string{"exit", "0"}}); !plane.IsKind(err, plane.Unauthorized) {
		t.Errorf("without a key: %v", err)
	}
	if code, err := run(t, op, client.Command{Argv: []string{"exit", "7"}}); code != 7 || err != nil {
		t.Errorf("the operator: %d %v", code, err)
	}
}

// operatorOf is a client over the operator's unix socket.
func operatorOf(t *testing.T, s *apitest.Site) *client.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.API.Operator(), ReadHeaderTimeout: time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	c, err := client.New("unix://"+path, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ptr[T any](v T) *T { return &v }

func TestNonsenseOnTheSocketIsLetBe(t *testing.T) {
	s, _ := execSite(t)
	ws, _, err := websocket.Dial(t.Context(), s.URL+"/ctrl/b/one/exec?argv=cat", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	for _, m := range []string{"", "\x03{", "\x03", "\xffx", "\x05{}", "\x00hello", "\x04", "\x04", "\x00late"} {
		if err := ws.Write(t.Context(), websocket.MessageBinary, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for {
		_, m, err := ws.Read(t.Context())
		if err != nil {
			if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Error(err)
			}
			break
		}
		got = append(got, string(m))
	}
	if strings.Join(got, "|") != "\x01hello|\x05{\"exit\":0}" {
		t.Errorf("%q", got)
	}
}
