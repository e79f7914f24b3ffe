package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

// listen serves sockets and gives what it accepts.
func listen(t *testing.T) (url string, accepted <-chan *Conn) {
	t.Helper()
	conns := make(chan *Conn, 1)
	held := make(chan struct{})
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r)
		if err != nil {
			return
		}
		conns <- c
		<-held // the request's context lives as long as its handler
	}))
	t.Cleanup(func() {
		close(held)
		ts.Close()
	})
	return ts.URL, conns
}

func dial(t *testing.T, url string) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	c, err := Dial(ctx, url, client, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.ws.CloseNow() })
	return c
}

func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	url, accepted := listen(t)
	a = dial(t, url)
	b = <-accepted
	t.Cleanup(func() { _ = b.ws.CloseNow() })
	return a, b
}

// running is Run in a goroutine; its result comes on done.
func running(ctx context.Context, t *testing.T, c *Conn, handle func(Message) error) (done <-chan error) {
	t.Helper()
	if handle == nil {
		handle = func(Message) error { return nil }
	}
	ch := make(chan error, 1)
	go func() { ch <- c.Run(ctx, handle) }()
	return ch
}

func wait[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func TestMessagesArriveInTheirOrder(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	const n = 2000
	got := make(chan int64, n)
	running(t.Context(), t, a, nil)
	running(t.Context(), t, b, func(m Message) error {
		got <- m.(Renew).Number
		return nil
	})
	for i := range n {
		if err := a.Send(Renew{Number: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if g := wait(t, got, "message"); g != int64(i) {
			t.Fatalf("message %d came as number %d", g, i)
		}
	}
}

func TestHandshakeThenRun(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	if err := a.Write(t.Context(), ProxyHello{Instance: "p"}); err != nil {
		t.Fatal(err)
	}
	m, err := b.Read(t.Context())
	if h, ok := m.(ProxyHello); err != nil || !ok || h.Instance != "p" {
		t.Fatalf("%#v, %v", m, err)
	}
	// What was queued before Run is sent by it.
	if err := b.Send(Resume{Backend: "b1"}); err != nil {
		t.Fatal(err)
	}
	running(t.Context(), t, b, nil)
	if m, err := a.Read(t.Context()); err != nil || m != (Resume{Backend: "b1"}) {
		t.Fatalf("%#v, %v", m, err)
	}
}

// TestTrap18_AnyErrorEndsTheConnection: and with it both its goroutines and
// everything that is sent afterwards.
func TestTrap18_AnyErrorEndsTheConnection(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		peer   func(ctx context.Context, peer *Conn)
		handle func(Message) error
		want   string
	}{
		"no JSON": {peer: func(ctx context.Context, p *Conn) { _ = p.ws.Write(ctx, websocket.MessageText, []byte("{")) }, want: "decode message"},
		"wrong body": {peer: func(ctx context.Context, p *Conn) {
			_ = p.ws.Write(ctx, websocket.MessageText, []byte(`{"type":"renew","body":7}`))
		}, want: "decode renew"},
		"too long": {peer: func(ctx context.Context, p *Conn) {
			_ = p.ws.Write(ctx, websocket.MessageText, make([]byte, maxMessage+1))
		}, want: "read limit"},
		"reset":   {peer: func(_ context.Context, p *Conn) { _ = p.ws.CloseNow() }, want: "read message"},
		"closed":  {peer: func(_ context.Context, p *Conn) { go p.Close("enough") }, want: "enough"},
		"goodbye": {peer: func(ctx context.Context, p *Conn) { _ = p.Write(ctx, Goodbye{Reason: "upgrade"}) }, want: "peer left: upgrade"},
		"handler": {
			peer:   func(ctx context.Context, p *Conn) { _ = p.Write(ctx, KeysAsk{}) },
			handle: func(Message) error { return boom }, want: "handle keys_ask: boom",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			done := running(t.Context(), t, a, c.handle)
			c.peer(t.Context(), b)
			err := wait(t, done, "the end")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ended with %v, want %q", err, c.want)
			}
			if err := a.Send(KeysAsk{}); !errors.Is(err, ErrClosed) {
				t.Errorf("Send afterwards gives %v, want ErrClosed", err)
			}
			a.SendTelemetry(Telemetry{}) // and does nothing
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	left := errors.New("the controller left")
	ctx, cancel := context.WithCancelCause(t.Context())
	done, peer := running(ctx, t, a, nil), running(t.Context(), t, b, nil)
	cancel(left)
	if err := wait(t, done, "the end"); !errors.Is(err, left) {
		t.Errorf("ended with %v, want the cause", err)
	}
	if err := wait(t, peer, "the peer's end"); err == nil {
		t.Error("the peer didn't notice")
	}
}

func TestClosedBeforeRun(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	peer := running(t.Context(), t, b, nil)
	a.Close("changed my mind")
	if err := wait(t, running(t.Context(), t, a, nil), "the end"); !errors.Is(err, ErrClosed) {
		t.Errorf("Run gives %v, want ErrClosed", err)
	}
	wait(t, peer, "the peer's end")
}

// TestTrap19_AClogEndsTheConnection: a peer that doesn't read can't block the
// sender, and nothing is dropped silently.
func TestTrap19_AClogEndsTheConnection(t *testing.T) {
	t.Parallel()
	a, _ := pair(t) // nobody reads the other end
	done := running(t.Context(), t, a, nil)
	part := LogsPart{Data: make([]byte, 32<<10)}
	var err error
	for n := 0; err == nil; n++ {
		if n > 3*stateQueue {
			t.Fatalf("%d messages are queued", n)
		}
		before := time.Now()
		err = a.Send(part)
		if took := time.Since(before); took > patience/2 {
			t.Fatalf("Send took %v", took)
		}
	}
	if !errors.Is(err, ErrClogged) {
		t.Errorf("Send gives %v, want ErrClogged", err)
	}
	if err := wait(t, done, "the end"); !errors.Is(err, ErrClogged) {
		t.Errorf("Run gives %v, want ErrClogged", err)
	}
}

// TestTrap19_BothEndsMayFlood: two handlers that answer every message with
// another don't wait for each other.
func TestTrap19_BothEndsMayFlood(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	const n = 3000
	var wg sync.WaitGroup
	wg.Add(2)
	answer := func(c *Conn) func(Message) error {
		left := n
		return func(m Message) error {
			if left--; left == 0 {
				wg.Done()
			}
			if q, ok := m.(Quiesce); ok {
				return c.Send(Quiesced{ID: q.ID})
			}
			return nil
		}
	}
	running(t.Context(), t, a, answer(a))
	running(t.Context(), t, b, answer(b))
	for i := range n / 2 { // each end gets n/2 questions and n/2 answers
		for _, c := range []*Conn{a, b} {
			if err := c.Send(Quiesce{ID: int64(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := make(chan struct{})
	go func() { wg.Wait(); close(all) }()
	wait(t, all, "the last answer")
}

// TestTrap21_TelemetryIsDroppedStateIsNot: of too much telemetry the oldest
// goes, and what matters goes first.
func TestTrap21_TelemetryIsDroppedStateIsNot(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	const telemetry, states = 10 * telemetryQueue, 200
	for i := range telemetry {
		a.SendTelemetry(Telemetry{Backends: []Usage{{CPUMS: int64(i)}}})
	}
	for i := range states {
		if err := a.Send(Renew{Number: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan Message, telemetry+states)
	running(t.Context(), t, b, func(m Message) error { got <- m; return nil })
	running(t.Context(), t, a, nil)
	for i := range states {
		if m := wait(t, got, "state"); m != Message(Renew{Number: int64(i)}) {
			t.Fatalf("message %d is %#v", i, m)
		}
	}
	var kept []int64
	for range telemetryQueue {
		kept = append(kept, wait(t, got, "telemetry").(Telemetry).Backends[0].CPUMS)
	}
	if !slices.IsSorted(kept) || kept[0] != telemetry-telemetryQueue || kept[len(kept)-1] != telemetry-1 {
		t.Errorf("kept %v, want the newest %d", kept, telemetryQueue)
	}
}

func TestLongStreamsWaitAndStateGoesAhead(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for i := range bulkQueue {
		if err := a.SendBulk(t.Context(), LogsPart{ID: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	full, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := a.SendBulk(full, LogsPart{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SendBulk without room gives %v, want to wait until its context is done", err)
	}
	if err := a.Send(KeysAsk{}); err != nil {
		t.Fatal(err)
	}
	got := make(chan Message, bulkQueue+1)
	running(t.Context(), t, b, func(m Message) error { got <- m; return nil })
	running(t.Context(), t, a, nil)
	if m := wait(t, got, "state"); m != Message(KeysAsk{}) {
		t.Errorf("%#v went ahead of state", m)
	}
	for i := range bulkQueue {
		if p := wait(t, got, "part").(LogsPart); p.ID != int64(i) {
			t.Errorf("part %d came as number %d", p.ID, i)
		}
	}
}

// TestTrap18_ACutWithoutFINIsNoticed on both sides, by the pings.
func TestTrap18_ACutWithoutFINIsNoticed(t *testing.T) {
	t.Parallel()
	url, accepted := listen(t)
	p := freezer(t, strings.TrimPrefix(url, "http://"))
	a := dial(t, "http://"+p.addr)
	b := <-accepted
	got := make(chan Message, 1)
	began := time.Now()
	doneA := running(t.Context(), t, a, nil)
	doneB := running(t.Context(), t, b, func(m Message) error { got <- m; return nil })
	if err := a.Send(KeysAsk{}); err != nil {
		t.Fatal(err)
	}
	wait(t, got, "the message before the cut")
	p.freeze()
	for _, done := range []<-chan error{doneA, doneB} {
		err := wait(t, done, "the end")
		if err == nil || !strings.Contains(err.Error(), "ping peer") {
			t.Errorf("ended with %v, want a ping that wasn't answered", err)
		}
	}
	if took := time.Since(began); took > pingEvery+pingTimeout+5*time.Second {
		t.Errorf("noticed after %v", took)
	}
}

// freezing is a TCP proxy that can stop to carry anything, also ends.
type freezing struct {
	addr   string
	freeze func()
}

func freezer(t *testing.T, to string) freezing {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	frozen := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex // guards open
	var open []net.Conn
	carry := func(dst, src net.Conn) {
		buf := make([]byte, 4096)
		for {
			n, err := src.Read(buf)
			select {
			case <-frozen:
				return
			default:
			}
			if err != nil {
				_ = dst.Close()
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			mu.Lock()
			open = append(open, in, out)
			mu.Unlock()
			wg.Go(func() { carry(in, out) })
			wg.Go(func() { carry(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return freezing{addr: l.Addr().String(), freeze: sync.OnceFunc(func() { close(frozen) })}
}

func TestRefusedDial(t *testing.T) {
	t.Parallel()
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusUnauthorized)
	}))
	defer ts.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	_, err := Dial(t.Context(), ts.URL, client, http.Header{"Authorization": {"Bearer x"}})
	if err == nil || !strings.Contains(err.Error(), "401 Unauthorized") {
		t.Errorf("%v, want the status in it", err)
	}
	if _, err := Dial(t.Context(), "http://127.0.0.1:1", client, nil); err == nil {
		t.Error("nobody listens there")
	}
}

func TestAcceptRefusesWhatIsNoUpgrade(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	if _, err := Accept(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody)); err == nil {
		t.Error("a plain request is a socket")
	}
	if b, _ := io.ReadAll(w.Body); w.Code < 400 || len(b) == 0 {
		t.Errorf("answered %d %q", w.Code, b)
	}
}

func TestStreamsStayBehindWhatWasSentBeforeThem(t *testing.T) {
	a, b := pair(t)
	const rounds = 5000
	got := make(chan int64, 2*rounds)
	running(t.Context(), t, b, func(m Message) error {
		switch m := m.(type) {
		case ExecAsk:
			got <- m.ID
		case ExecPart:
			got <- m.ID
		}
		return nil
	})
	running(t.Context(), t, a, func(Message) error { return nil })
	for i := range int64(rounds) {
		if err := a.Send(ExecAsk{ID: 2 * i}); err != nil {
			t.Fatal(err)
		}
		if err := a.SendBulk(t.Context(), ExecPart{ID: 2*i + 1}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[int64]bool{}
	for range 2 * rounds {
		id := wait(t, got, "a message")
		seen[id] = true
		if id%2 == 1 && !seen[id-1] {
			t.Fatalf("part %d came before what it belongs to", id)
		}
	}
}

func TestAStreamThatWaitsEndsWithItsConnection(t *testing.T) {
	a, _ := pair(t)
	for range bulkQueue {
		if err := a.SendBulk(t.Context(), ExecPart{}); err != nil {
			t.Fatal(err)
		}
	}
	waited := make(chan error, 1)
	go func() { waited <- a.SendBulk(context.Background(), ExecPart{}) }()
	a.Close("done")
	if err := wait(t, waited, "the end of a wait"); !errors.Is(err, ErrClosed) {
		t.Errorf("a stream on a connection that ended gives %v", err)
	}
}
