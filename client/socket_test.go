package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"plane"
	"plane/client"
)

// world is an app's endpoint, a controller's status stream and the backends of
// one key, of which the one of the latest generation lives.
type world struct {
	t   *testing.T
	url string

	generation, asked, tries, refusal, own atomic.Int64
	mu                                     sync.Mutex // guards the fields below
	open                                   map[*websocket.Conn]bool
	got                                    []string
	statuses                               []string
}

// newWorld also checks, at the test's end, that no goroutine is left.
func newWorld(t *testing.T) *world {
	t.Helper()
	before := goleak.IgnoreCurrent()
	w := &world{t: t, open: map[*websocket.Conn]bool{}, statuses: []string{"scheduled", "waiting", "ready"}}
	w.generation.Store(1)
	m := http.NewServeMux()
	m.HandleFunc("POST /connect", w.connect)
	m.HandleFunc("GET /pub/b/{id}/status-stream", w.status)
	m.HandleFunc("/{token}/{path...}", w.backend)
	s := httptest.NewServer(m)
	w.url = s.URL
	t.Cleanup(func() {
		w.cut()
		s.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if err := goleak.Find(before); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) connect(rw http.ResponseWriter, _ *http.Request) {
	n := w.asked.Add(1)
	if code := w.refusal.Load(); code != 0 {
		rw.WriteHeader(int(code))
		_, _ = io.WriteString(rw, `{"id":"e","kind":"Forbidden","message":"No."}`)
		return
	}
	g := w.generation.Load()
	_ = json.NewEncoder(rw).Encode(client.ConnectResponse{
		BackendID: plane.BackendID(fmt.Sprint("b", g)), Status: plane.Scheduled, Generation: plane.Generation(g),
		URL: fmt.Sprintf("%s/t%d-%d/", w.url, n, g), StatusURL: fmt.Sprintf("%s/pub/b/b%d/status", w.url, g),
	})
}

func (w *world) status(rw http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.statuses {
		fmt.Fprintf(rw, "data: {\"status\":%q,\"time\":1}\nid: %s\n\n", s, s)
	}
}

func (w *world) backend(rw http.ResponseWriter, r *http.Request) {
	g := w.generation.Load()
	if !strings.HasSuffix(r.PathValue("token"), fmt.Sprint("-", g)) {
		rw.WriteHeader(http.StatusGone)
		return
	}
	if r.Header.Get("Upgrade") == "" {
		if r.URL.Path[len(r.URL.Path)-3:] == "own" {
			w.own.Add(1)
			rw.WriteHeader(http.StatusGone)
			return
		}
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %s %s %d", r.Method, r.PathValue("path"), b, g)
		return
	}
	w.tries.Add(1)
	c, err := websocket.Accept(rw, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	w.mu.Lock()
	w.open[c] = true
	w.mu.Unlock()
	_ = c.Write(r.Context(), websocket.MessageText, []byte(fmt.Sprint("hello ", g)))
	for {
		_, b, err := c.Read(context.Background())
		w.mu.Lock()
		if err != nil {
			delete(w.open, c)
			w.mu.Unlock()
			return
		}
		w.got = append(w.got, string(b))
		w.mu.Unlock()
	}
}

func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		go c.CloseNow()
	}
}

func (w *world) die() {
	w.generation.Add(1)
	w.cut()
}

func (w *world) say(code websocket.StatusCode, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		go c.Close(code, reason)
	}
}

func (w *world) received() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got)
}

func (w *world) session() *client.Session {
	w.t.Helper()
	s, err := client.NewSession(w.t.Context(), client.Endpoint(w.url+"/connect", nil, http.DefaultClient), client.SessionOptions{HTTP: http.DefaultClient})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// running is a socket whose Run was called.
type running struct {
	*client.Socket
	t      *testing.T
	ended  chan error
	cancel context.CancelFunc

	mu  sync.Mutex
	log []string
}

func (w *world) run(s *client.Session, opts client.SocketOptions) *running {
	r := &running{t: w.t, ended: make(chan error, 1)}
	opts.OnOpen = func(g plane.Generation) { r.note("open %d", g) }
	opts.OnMessage = func(m client.Message) { r.note("message %s", m.Data) }
	if own := opts.OnGeneration; own == nil {
		opts.OnGeneration = func(now, before plane.Generation) { r.note("generation %d to %d", before, now) }
	}
	r.Socket = s.Socket("/ws", opts).AlwaysSoon()
	ctx, cancel := context.WithCancel(w.t.Context())
	r.cancel = cancel
	go func() { r.ended <- r.Run(ctx) }()
	w.t.Cleanup(cancel)
	return r
}

func (r *running) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *running) noted() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.log, ", ")
}

func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(30 * time.Second):
		r.t.Fatal("Run doesn't end")
		return nil
	}
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

func (r *running) until(log string) {
	r.t.Helper()
	until(r.t, log, func() bool {
		if len(r.noted()) > len(log) {
			r.t.Fatalf("has %s, want %s", r.noted(), log)
		}
		return r.noted() == log
	})
}

func TestPausesAreAnythingUpToABoundThatDoublesUpTo2SecondsInTheFirstMinuteAndThen15(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		attempt := rapid.IntRange(0, math.MaxInt).Draw(t, "attempt")
		r := rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "r")
		lost := time.Duration(rapid.Int64Range(0, int64(3*time.Minute)).Draw(t, "sinceLoss"))
		d := client.BackOff(attempt, lost, r)
		bound := 15 * time.Second
		if lost < time.Minute {
			bound = 2 * time.Second
		}
		if attempt < 6 {
			bound = min(bound, 250*time.Millisecond<<attempt)
		}
		if d < 0 || d > bound {
			t.Fatalf("%v, bound %v", d, bound)
		}
		if client.BackOff(attempt, lost, 0) != 0 || client.BackOff(attempt, lost, 0.999) < bound*9/10 {
			t.Fatal("not the whole range")
		}
	})
}

func TestASocketComesBackWithTheSameToken(t *testing.T) {
	w := newWorld(t)
	k := w.run(w.session(), client.SocketOptions{})
	k.until("open 1, message hello 1")
	w.cut()
	k.until("open 1, message hello 1, open 1, message hello 1")
	if n := w.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	k.Close()
	if err := k.wait(); err != nil {
		t.Error(err)
	}
	if err := k.Send(t.Context(), client.Message{}); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
}

func TestATokenThatIsGoneIsReplacedOnceForAllAndTheNewStateIsToldBeforeItsFirstMessage(t *testing.T) {
	w := newWorld(t)
	s := w.session()
	var all []*running
	for range 5 {
		all = append(all, w.run(s, client.SocketOptions{}))
	}
	want := "open 1, message hello 1"
	for n := 2; n < 5; n++ {
		for _, k := range all {
			k.until(want)
		}
		w.die()
		want += fmt.Sprintf(", generation %d to %d, open %d, message hello %d", n-1, n, n, n)
	}
	for _, k := range all {
		k.until(want)
		k.cancel()
		if err := k.wait(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if n := w.asked.Load(); n != 4 || s.Generation() != 4 {
		t.Errorf("asked %d times, generation %d", n, s.Generation())
	}
}

func TestTheQueueIsBoundedAndInOrderAndCanBeTakenBack(t *testing.T) {
	w := newWorld(t)
	s := w.session()
	var back []client.Message
	var k *running
	k = w.run(s, client.SocketOptions{Queue: 10, OnGeneration: func(now, _ plane.Generation) { back = k.Unsent(); k.note("new %d", now) }})
	k.until("open 1, message hello 1")
	w.refusal.Store(502)
	w.die()
	until(t, "asked again", func() bool { return w.asked.Load() > 1 })
	text := func(s string) client.Message { return client.Message{Data: []byte(s), Text: true} }
	for _, m := range []string{"12345", "6789"} {
		if err := k.Send(t.Context(), text(m)); err != nil {
			t.Fatal(err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := k.Send(short, text("xx")); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := k.Send(t.Context(), text("12345678901")); !errors.Is(err, client.ErrTooLarge) {
		t.Error(err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- k.Send(t.Context(), text("after")) }()
	w.refusal.Store(0)
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	until(t, "the one that waited", func() bool { return slices.Equal(w.received(), []string{"after"}) })
	if len(back) != 2 || string(back[0].Data) != "12345" {
		t.Errorf("taken back: %v", back)
	}
	for range 200 { // most of them wait until there is room
		if err := k.Send(t.Context(), text("12345678")); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all that was sent", func() bool { return len(w.received()) == 201 })
	k.Close()
	if err := k.wait(); err != nil {
		t.Error(err)
	}
}

func TestCloseCodes(t *testing.T) {
	for _, c := range []struct {
		code   websocket.StatusCode
		reason string
		final  bool
		asked  int64
	}{
		{4100, "", false, 2},
		{4101, "", false, 2},
		{4102, "", false, 2},
		{4103, "revoked", true, 1},
		{1000, "", true, 1},
		{1001, "", false, 1},
		{1013, "retry-after=0.3", false, 1},
		{4001, "", true, 1},
	} {
		t.Run(fmt.Sprint(int(c.code)), func(t *testing.T) {
			w := newWorld(t)
			var waited atomic.Int64
			k := w.run(w.session(), client.SocketOptions{
				OnLost:    func(_ error, wait time.Duration) { waited.Store(int64(wait)) },
				Reconnect: func(c *client.Closed) bool { return c.Code != 4001 },
			})
			k.until("open 1, message hello 1")
			w.say(c.code, c.reason)
			if c.final {
				var closed *client.Closed
				if err := k.wait(); !errors.As(err, &closed) || closed.Code != int(c.code) {
					t.Error(err)
				}
			} else {
				k.until("open 1, message hello 1, open 1, message hello 1")
				k.Close()
				if err := k.wait(); err != nil {
					t.Error(err)
				}
			}
			if n := w.asked.Load(); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
			if wait := time.Duration(waited.Load()); (wait >= 300*time.Millisecond) != (c.code == 1013) {
				t.Errorf("waited %v", wait)
			}
		})
	}
}

func TestAnEndpointThatLetsNobodyInEndsTheSocketOneThatIsAwayDoesNot(t *testing.T) {
	w := newWorld(t)
	k := w.run(w.session(), client.SocketOptions{})
	k.until("open 1, message hello 1")
	w.refusal.Store(502)
	w.die()
	until(t, "three refusals", func() bool { return w.asked.Load() > 3 })
	w.refusal.Store(403)
	if err := k.wait(); !plane.IsKind(err, plane.Forbidden) {
		t.Error(err)
	}
}

func TestASessionWaitsUntilReadyAndSaysWhenThatWontBe(t *testing.T) {
	w := newWorld(t)
	w.statuses = []string{"scheduled", "terminated"}
	_, err := client.NewSession(t.Context(), client.Endpoint(w.url+"/connect", nil, http.DefaultClient), client.SessionOptions{HTTP: http.DefaultClient})
	var ended *client.Ended
	if !errors.As(err, &ended) {
		t.Error(err)
	}
	nothing := func(context.Context) (client.ConnectResponse, error) { return client.ConnectResponse{}, nil }
	var bad *client.BadAnswer
	if _, err := client.NewSession(t.Context(), nothing, client.SessionOptions{}); !errors.As(err, &bad) {
		t.Error(err)
	}
}

func TestDoAsksAgainWhenItsTokenIsGoneAndLeavesTheProgramsOwn410Alone(t *testing.T) {
	w := newWorld(t)
	s := w.session()
	do := func(method, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if code, got := do("GET", "/a?b=1", ""); code != 200 || got != "GET a  1" {
		t.Error(code, got)
	}
	w.die()
	if code, got := do("POST", "c", "body"); code != 200 || got != "POST c body 2" {
		t.Error(code, got)
	}
	if code, _ := do("GET", "own", ""); code != 410 || w.own.Load() != 1 {
		t.Errorf("%d after %d requests", code, w.own.Load())
	}
	for _, path := range []string{"../x", "a/../../x"} {
		if code, got := do("GET", path, ""); code != 0 || !strings.Contains(got, "leads out") {
			t.Error(path, code, got)
		}
	}
}

func TestTheSecretStaysOnTheServer(t *testing.T) {
	secret := "hush"
	b, err := json.Marshal(client.ConnectResponse{SecretToken: &secret}.ForPage())
	if err != nil || strings.Contains(string(b), secret) {
		t.Error(string(b), err)
	}
}
