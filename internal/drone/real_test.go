package drone

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plane"
	"plane/internal/drone/dronetest"
	"plane/internal/drone/leaseclock"
	"plane/internal/drone/means"
	"plane/internal/drone/table"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
	"plane/internal/runtime/process"
	"plane/internal/wire"
)

// backend is this program as a backend: it tells of itself on all its ports,
// and keeps what it is sent in its data directory.
func backend() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Join(os.Environ(), "\n"))
	})
	mux.HandleFunc("GET /args", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(os.Args)
	})
	mux.HandleFunc("/data/{name}", func(w http.ResponseWriter, r *http.Request) {
		path := filepath.Join(os.Getenv("SESSION_BACKEND_DATA_DIR"), r.PathValue("name"))
		b, err := io.ReadAll(r.Body)
		if err == nil && r.Method == http.MethodPut {
			err = os.WriteFile(path, b, 0o600)
		} else if err == nil {
			b, err = os.ReadFile(path)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(b)
	})
	failed := make(chan error)
	for _, e := range os.Environ() {
		name, port, _ := strings.Cut(e, "=")
		if name != "PORT" && !strings.HasPrefix(name, "PORT_") {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		go func() { failed <- http.Serve(l, mux) }()
	}
	fmt.Println(<-failed)
	os.Exit(1)
}

// real makes d run processes, with a reaper and a warden beside it.
func (d *testDrone) real() {
	d.t.Helper()
	h := d.cfg.Home
	processes := process.New(func(ctx context.Context) (*warden.Client, error) {
		return dronetest.Dial(ctx, h)
	}, process.Options{Home: h})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := processes.Connect(ctx); err != nil {
		d.t.Fatal(err)
	}
	tb, err := table.Open(h.TableFile())
	if err != nil {
		d.t.Fatal(err)
	}
	if d.cfg.BootID, err = leaseclock.BootID(); err != nil {
		d.t.Fatal(err)
	}
	d.cfg.Table, d.cfg.Clock, d.cfg.WardenInstance = tb, tb.Clock(), processes.Instance
	d.cfg.Runtimes = map[string]runtime.Runtime{"process": processes}
	d.t.Cleanup(func() { d.endAll(processes, tb) })
}

// endAll makes sure that nothing of d is left.
func (d *testDrone) endAll(processes *process.Runtime, tb *table.Table) {
	d.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	found, err := processes.Found(ctx)
	if err != nil {
		d.t.Error(err)
	}
	for _, f := range found {
		if p, err := processes.Attach(ctx, f.Backend); err == nil {
			_ = p.Stop(ctx, plane.Hard)
			_, _ = p.Wait(ctx)
		}
	}
	processes.Close()
	_ = tb.Close()
	patiently(d.t, "warden and reaper leave", func() bool {
		_, w := d.cfg.Home.Holder("warden")
		_, r := d.cfg.Home.Holder("reaper")
		return !w && !r
	})
	m := means.New(d.cfg.Home.Hash(), slog.New(slog.DiscardHandler))
	if s := m.Strays(); len(s) > 0 {
		d.t.Errorf("left running: %v", s)
		m.Kill(s...)
	}
	m.Tidy()
}

// patiently is eventually for what real processes do on a busy machine.
func patiently(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// begunReal is a connected drone that runs processes.
func begunReal(t testing.TB) (*controller, *testDrone) {
	t.Helper()
	c := newController(t)
	d := newDrone(t, c)
	d.real()
	d.begin()
	c.awaitLease(d)
	return c, d
}

// restart lets another agent take over.
func (d *testDrone) restart() {
	d.t.Helper()
	d.stop()
	d.begin()
	d.controller.awaitLease(d)
}

// runs is an order for this program as a backend, with args behind.
func runs(args ...string) order {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return spec(func(s *plane.Spec) {
		b, _ := json.Marshal(plane.Executable{Command: append([]string{exe, "backend"}, args...)})
		s.Executable = b
	})
}

// words is an order for any command.
func words(x plane.Executable) order {
	return spec(func(s *plane.Spec) { s.Executable, _ = json.Marshal(x) })
}

// onVolume is an order for kept data.
func onVolume(id string, isNew string) order {
	return func(m *wire.Spawn) {
		m.Spec.Data, m.Volume = plane.DataKeep, &wire.Volume{ID: id, New: isNew == "new"}
	}
}

// reach waits until the backend is ready and gives its state.
func (c *controller) reach(id plane.BackendID) plane.State {
	c.t.Helper()
	return c.until(id, plane.Ready)
}

// until waits for a status, and fails at an end that nobody waits for.
func (c *controller) until(id plane.BackendID, status plane.Status) (s plane.State) {
	c.t.Helper()
	patiently(c.t, fmt.Sprintf("%s is %s", id, status), func() bool {
		s = c.state(id)
		if s.Status == plane.Terminated && status != plane.Terminated {
			c.t.Fatalf("%s ended as %+v %+v", id, s, s.Exit)
		}
		return s.Status == status
	})
	return s
}

// call asks a backend.
func call(t testing.TB, method, address, path, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, b)
	}
	return string(b)
}
