package whiteboard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const patience = 30 * time.Second

// program is a running whiteboard.
type program struct {
	*exec.Cmd
	addr string
	said []string // before it listened
	done chan error
}

// run starts the program on a port of its own.
func run(t *testing.T, dir string, env ...string) *program {
	t.Helper()
	c := exec.Command(os.Args[0], "--listen", "127.0.0.1:0", "--data-dir", dir)
	c.Env = append(append(os.Environ(), env...), "WHITEBOARD_TEST_MAIN=1")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{Cmd: c, done: make(chan error, 1)}
	t.Cleanup(func() { p.kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.said = append(p.said, lines.Text())
		if _, addr, ok := strings.Cut(lines.Text(), "listening on "); ok {
			p.addr = addr
			break
		}
	}
	go func() {
		for lines.Scan() {
		}
		p.done <- c.Wait()
	}()
	if p.addr == "" {
		t.Fatalf("it never listened: %v", p.said)
	}
	return p
}

func (p *program) kill() {
	_ = p.Process.Kill()
	p.done <- <-p.done // for who asks again
}

// serve runs a whiteboard in this process.
func serve(t *testing.T, dir string) (addr string, s *Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, dir, l)
}

// narrow is a listener whose connections hold little in the kernel.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		err = tcp.SetWriteBuffer(4096)
	}
	return c, err
}

func serveOn(t *testing.T, dir string, l net.Listener) (addr string, s *Server) {
	t.Helper()
	s, err := Open(dir, Backend{Key: "test", Generation: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("it doesn't end")
		}
	})
	return l.Addr().String(), s
}

// heard is any message of the board.
type heard struct {
	hello
	Strokes json.RawMessage    `json:"strokes"`
	Last    bool               `json:"last"`
	Ops     []op               `json:"ops"`
	IDs     []string           `json:"ids"`
	ID      string             `json:"id"`
	Why     string             `json:"why"`
	People  []person           `json:"people"`
	Cursors map[int64]*point   `json:"cursors"`
	Drawing map[string]*sketch `json:"drawing"`
}

// visitorOf is a page without a page.
type visitorOf struct {
	t     *testing.T
	conn  *websocket.Conn
	hello heard
	board []*Stroke // when it came

	n int
}

func visit(t *testing.T, addr, name string) *visitorOf {
	t.Helper()
	v, err := tryVisit(t, addr, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func tryVisit(t *testing.T, addr, name string) (*visitorOf, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+addr+"/ws?name="+name, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(64 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	v := &visitorOf{t: t, conn: conn}
	for {
		m, err := v.next()
		if err != nil {
			return nil, err
		}
		switch m.Type {
		case "hello":
			v.hello = m
		case "strokes":
			var some []*Stroke
			if err := json.Unmarshal(m.Strokes, &some); err != nil {
				return nil, err
			}
			v.board = append(v.board, some...)
			if m.Last {
				return v, nil
			}
		}
	}
}

func (v *visitorOf) next() (heard, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var m heard
	_, raw, err := v.conn.Read(ctx)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(raw, &m)
}

// await reads until match accepts a message.
func (v *visitorOf) await(what string, match func(heard) bool) heard {
	v.t.Helper()
	for {
		m, err := v.next()
		if err != nil {
			v.t.Fatalf("never heard %s: %v", what, err)
		}
		if match(m) {
			return m
		}
	}
}

func (v *visitorOf) say(s said) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return v.conn.Write(ctx, websocket.MessageText, raw)
}

// add says a change that adds a stroke, and gives its id.
func (v *visitorOf) add(points int) (string, error) {
	v.n++
	s := stroke(fmt.Sprintf("stroke-%d-%d-%04d", v.hello.Generation, v.hello.You, v.n), points)
	return s.ID, v.say(said{Type: "op", Op: &op{ID: s.ID, Add: s}})
}

// mustAdd is add that waits until it is saved.
func (v *visitorOf) mustAdd(points int) string {
	v.t.Helper()
	id, err := v.add(points)
	if err != nil {
		v.t.Fatal(err)
	}
	v.awaitSaved(id)
	return id
}

func (v *visitorOf) awaitSaved(id string) {
	v.t.Helper()
	v.await("that "+id+" is saved", func(m heard) bool {
		if m.Type == "refused" {
			v.t.Fatal(m.Why)
		}
		for _, got := range m.IDs {
			if got == id {
				return true
			}
		}
		return false
	})
}

func stroke(id string, points int) *Stroke {
	s := &Stroke{ID: id, By: "author-1", Color: "ink", Width: 40}
	for i := range points {
		s.Points = append(s.Points, 10000+i, 5000+i)
	}
	return s
}

func ids(strokes []*Stroke) map[string]bool {
	all := map[string]bool{}
	for _, s := range strokes {
		all[s.ID] = true
	}
	return all
}

// stateOf is what /state says.
func stateOf(t *testing.T, addr string) (s struct{ Strokes, Visitors int }) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/state")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// until polls a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
