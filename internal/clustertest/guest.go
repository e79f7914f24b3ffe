package clustertest

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// StartDevFile runs `plane dev --file file` in a directory of the test, on
// ports of its own, and waits until it serves.
func StartDevFile(t TB, file string, flags ...string) *Dev {
	t.Helper()
	file, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &Dev{DataDir: filepath.Join(t.TempDir(), "data")}
	args := []string{"dev", "--json", "--data-dir", d.DataDir, "--api", "127.0.0.1:0", "--proxy", "127.0.0.1:0", "--file", file}
	d.Part = Start(t, t.TempDir(), nil, append(args, flags...)...)
	t.Cleanup(func() { _ = d.Stop(20 * time.Second) }) // before Start's kill: ends the backends too
	d.AwaitListening()
	return d
}

// host is the host of a key's URL.
func (d *Dev) host(key string) string {
	_, port, _ := net.SplitHostPort(d.Proxy)
	return key + ".localhost:" + port
}

// KeyURL is where a browser finds a key of the default app.
func (d *Dev) KeyURL(key string) string { return "http://" + d.host(key) + "/" }

// Get reads a path of a key's URL, as a program: it waits until the backend is
// ready.
func (d *Dev) Get(key, path string) (status int, body string) {
	d.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+d.Proxy+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Host = d.host(key)
	resp, err := apiClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Socket opens a WebSocket of a key's URL until the test's end.
func (d *Dev) Socket(key, path string) *websocket.Conn {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+d.Proxy+path, &websocket.DialOptions{Host: d.host(key)})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

// Connect asks the API for a backend; fields stand beside the key in the body.
func (d *Dev) Connect(key string, fields map[string]any) Connected {
	d.t.Helper()
	body := map[string]any{"key": map[string]string{"name": key}}
	for name, v := range fields {
		body[name] = v
	}
	c, err := connectBody(d.API, body)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// Backend is the live one of a key.
func (d *Dev) Backend(key string) (Backend, bool) {
	d.t.Helper()
	for _, b := range d.Backends() {
		if b.Key.Name == key {
			return b, true
		}
	}
	return Backend{}, false
}

// KillBackend ends all processes of a key's backend with SIGKILL.
func (d *Dev) KillBackend(key string) {
	d.t.Helper()
	b, ok := d.Backend(key)
	pids := marked(d.t, b.BackendID)
	if !ok || len(pids) == 0 {
		d.t.Fatalf("no backend of %s to kill: %+v, %v", key, b, pids)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// StopBackend ends a key's backend as `plane stop` does, and waits for its end.
func (d *Dev) StopBackend(key string) {
	d.t.Helper()
	b, ok := d.Backend(key)
	if !ok {
		d.t.Fatalf("no backend of %s to stop", key)
	}
	resp, err := apiClient.Post(d.API+"/ctrl/b/"+b.BackendID+"/soft-terminate", "application/json", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	_ = resp.Body.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(pageTimeout); ; <-tick.C {
		if now, ok := d.Backend(key); !ok || now.BackendID != b.BackendID {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("%s doesn't end", key)
		}
	}
}

// Program reports where a program is that `make test` installs. Without it the
// test is skipped, or fails where CI is set.
func Program(t Skipper, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name)
	}
	return path
}

// Missing skips a test that needs what isn't there, or fails it where CI is set.
func Missing(t Skipper, what string) {
	t.Helper()
	why := "no " + what + "; `make test` installs it"
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Artefact keeps what a test has made for people to look at: `go test
// -artifacts` tells where.
func Artefact(t interface {
	TB
	ArtifactDir() string
}, name string, content []byte,
) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name), content, 0o644); err != nil {
		t.Fatal(err)
	}
}
