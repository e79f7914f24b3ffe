package clustertest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestMain(m *testing.M) {
	code := m.Run()
	Cleanup()
	os.Exit(code)
}

// sockets are WebSockets through a proxy, each on a key of its own.
type sockets struct {
	t  *testing.T
	ws []*websocket.Conn
}

func openSockets(t *testing.T, proxy string, urls []string) *sockets {
	t.Helper()
	s := &sockets{t: t, ws: make([]*websocket.Conn, len(urls))}
	dialer := &net.Dialer{}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", proxy)
	}}}
	var wg sync.WaitGroup
	errs := make(chan error, len(urls))
	slots := make(chan struct{}, 8)
	for i, u := range urls {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			ws, _, err := websocket.Dial(ctx, strings.Replace(u, "http://", "ws://", 1)+"ws", &websocket.DialOptions{HTTPClient: client})
			if err != nil {
				errs <- fmt.Errorf("open socket %d: %w", i, err)
				return
			}
			s.ws[i] = ws
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
	t.Cleanup(func() {
		for _, ws := range s.ws {
			_ = ws.CloseNow()
		}
	})
	return s
}

// echo sends a word through every socket and expects it back.
func (s *sockets) echo(when string) {
	s.t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	lost := map[int]error{}
	for i, ws := range s.ws {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
			defer cancel()
			want := fmt.Sprintf("%s %d", when, i)
			err := ws.Write(ctx, websocket.MessageText, []byte(want))
			for err == nil {
				var b []byte
				_, b, err = ws.Read(ctx)
				if err == nil && string(b) == want {
					return
				}
			}
			mu.Lock()
			lost[i] = err
			mu.Unlock()
		})
	}
	wg.Wait()
	for i, err := range lost {
		s.t.Errorf("%s: lost %d of %d sockets; number %d: %v", when, len(lost), len(s.ws), i, err)
		break
	}
}

func (s *sockets) echoFor(d time.Duration, when string) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		s.echo(when)
	}
}

func TestTrap50_SessionsOutliveEveryOtherPart(t *testing.T) {
	t.Parallel()
	a := StartApart(t)
	const n = 100
	urls := make([]string, n)
	for i := range urls {
		c, err := connect(a.API, fmt.Sprintf("session-%d", i), Build(t).Echo)
		if err != nil {
			t.Fatal(err)
		}
		urls[i] = c.URL
	}
	s := openSockets(t, a.Proxy, urls)
	s.echo("at first")
	before := ListBackends(t, a.API)

	a.Controller.Kill()
	s.echo("controller dead")
	a.Controller.Restart()
	a.AwaitHealth(t)
	s.echo("controller back")

	a.Drone.Kill()
	s.echo("agent dead")
	a.Drone.Restart()
	a.AwaitDrone(t)
	s.echo("agent back")

	for _, part := range []string{"warden", "reaper"} {
		pid := LockHolder(a.DataDir+"/drone", part)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("kill %s: %v", part, err)
		}
		s.echo(part + " dead")
		await(t, 10*time.Second, part+" back", func() bool {
			p := LockHolder(a.DataDir+"/drone", part)
			return p != 0 && p != pid
		})
		a.AwaitDrone(t)
		s.echo(part + " back")
	}

	// Without a controller nobody renews the drone's lease: sessions outlive
	// that for as long as their policy says (balanced: 37 s at least). A proxy
	// that alone hears nothing needs no lease.
	short, long := 5*time.Second, 5*time.Second
	if soak() {
		short, long = 30*time.Second, time.Minute
	}
	a.Controller.Kill()
	s.echoFor(short, "controller away")
	a.Controller.Restart()
	a.AwaitHealth(t)
	a.AwaitDrone(t)
	s.echo("controller back after an outage")

	a.News.Cut()
	s.echoFor(long, "the proxy's controller away")
	a.News.Mend()
	s.echo("the proxy's controller back")

	await(t, 10*time.Second, "the list is what it was", func() bool {
		after := map[string]bool{}
		for _, b := range ListBackends(t, a.API) {
			after[b.BackendID] = b.Status == "ready"
		}
		for _, b := range before {
			if strings.HasPrefix(b.Key.Name, "session-") && !after[b.BackendID] {
				return false
			}
		}
		return true
	})
}
