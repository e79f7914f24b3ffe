package clustertest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
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

// apart starts controller, drone and proxy as processes of this machine.
type apart struct {
	controller, drone, proxy *Part
	api, proxyAddr, dataDir  string
}

func freePort(t *testing.T) string {
	t.Helper()
	l := httptest.NewUnstartedServer(nil).Listener
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func startApart(t *testing.T) *apart {
	t.Helper()
	a := &apart{dataDir: t.TempDir()}
	apiPort, proxyPort := freePort(t), freePort(t)
	a.api, a.proxyAddr = "http://127.0.0.1:"+apiPort, "127.0.0.1:"+proxyPort
	cluster := "localhost:" + proxyPort
	a.controller = Start(t, t.TempDir(), nil, "controller", "--insecure", "--host", "127.0.0.1", "--port", apiPort,
		"--db", "sqlite:"+a.dataDir+"/controller/plane.db", "--data-dir", a.dataDir+"/controller", "--default-cluster", cluster)
	a.awaitHealth(t)
	a.proxy = Start(t, t.TempDir(), nil, "proxy", "--insecure", "--controller-url", a.api, "--cluster", cluster, "--http-port", proxyPort)
	a.drone = Start(t, t.TempDir(), nil, "drone", "--insecure", "--controller-url", a.api, "--cluster", cluster,
		"--data-dir", a.dataDir+"/drone", "--runtimes", "process")
	a.awaitDrone(t)
	return a
}

func (a *apart) awaitHealth(t *testing.T) {
	t.Helper()
	await(t, 20*time.Second, "controller serves", func() bool {
		resp, err := http.Get(a.api + "/pub/health")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// awaitDrone waits until the drone takes a start.
func (a *apart) awaitDrone(t *testing.T) {
	t.Helper()
	await(t, 20*time.Second, "drone takes a start", func() bool {
		c, err := connect(a.api, "probe", Build(t).Echo)
		if err != nil {
			return false
		}
		terminate(a.api, c.BackendID)
		return true
	})
}

func await(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %v: %s", d, what)
}

func TestTrap50_SessionsOutliveEveryOtherPart(t *testing.T) {
	t.Parallel()
	a := startApart(t)
	const n = 100
	urls := make([]string, n)
	for i := range urls {
		c, err := connect(a.api, fmt.Sprintf("session-%d", i), Build(t).Echo)
		if err != nil {
			t.Fatal(err)
		}
		urls[i] = c.URL
	}
	s := openSockets(t, a.proxyAddr, urls)
	s.echo("at first")
	before := ListBackends(t, a.api)

	a.controller.Kill()
	s.echo("controller dead")
	a.controller.Restart()
	a.awaitHealth(t)
	s.echo("controller back")

	a.drone.Kill()
	s.echo("agent dead")
	a.drone.Restart()
	a.awaitDrone(t)
	s.echo("agent back")

	for _, part := range []string{"warden", "reaper"} {
		pid := LockHolder(a.dataDir+"/drone", part)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatalf("kill %s: %v", part, err)
		}
		s.echo(part + " dead")
		await(t, 10*time.Second, part+" back", func() bool {
			p := LockHolder(a.dataDir+"/drone", part)
			return p != 0 && p != pid
		})
		a.awaitDrone(t)
		s.echo(part + " back")
	}

	a.controller.Kill()
	outage := 5 * time.Second
	if os.Getenv("PLANE_SOAK") != "" {
		outage = time.Minute
	}
	for end := time.Now().Add(outage); time.Now().Before(end); time.Sleep(time.Second) {
		s.echo("controller away")
	}
	a.controller.Restart()
	a.awaitHealth(t)
	a.awaitDrone(t)
	s.echo("controller back after an outage")

	await(t, 10*time.Second, "the list is what it was", func() bool {
		after := map[string]bool{}
		for _, b := range ListBackends(t, a.api) {
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
