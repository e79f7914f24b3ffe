// Package apitest serves the HTTP API over a real controller and store, with a
// scripted drone, for tests of the API and of what calls it.
package apitest

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"plane"
	"plane/internal/api"
	"plane/internal/controller"
	"plane/internal/store/sqlite"
)

// Cluster is the default cluster of every Site.
const Cluster plane.ClusterName = "localhost:9090"

// Site is an API over a real controller and store.
type Site struct {
	*httptest.Server
	API        *api.API
	Controller *controller.Controller
	DB         *sqlite.DB
	Log        *Log
}

// New starts a site; opts need no more than a guard.
func New(t testing.TB, opts api.Options) *Site {
	t.Helper()
	return NewWith(t, opts, func(*controller.Config) {})
}

// NewWith starts a site whose controller is configured further.
func NewWith(t testing.TB, opts api.Options, configure func(*controller.Config)) *Site {
	t.Helper()
	s := &Site{Log: &Log{}}
	var err error
	s.DB, err = sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "plane.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.DB.Close() })
	quiet := slog.New(slog.DiscardHandler)
	config := controller.Config{
		Name: "co-test", Store: s.DB, DefaultCluster: Cluster, URL: "http://127.0.0.1:8080", Version: "1.2.3", Hash: "abcd1234", Log: quiet,
	}
	configure(&config)
	s.Controller, err = controller.New(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	opts.Version, opts.Hash, opts.DefaultCluster = "1.2.3", "abcd1234", Cluster
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(s.Log, nil))
	}
	s.API = api.New(s.Controller, opts)
	base, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Controller.Run(base)
	}()
	s.Server = httptest.NewUnstartedServer(nil)
	s.Config = api.Server(s.API)
	s.Config.BaseContext = func(net.Listener) context.Context { return base }
	s.Start()
	t.Cleanup(func() {
		stop()
		s.CloseClientConnections()
		s.Close()
		<-done
	})
	return s
}

// Log is what an API logged.
type Log struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Send writes bytes as they stand and reads one answer.
func (s *Site) Send(t testing.TB, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	return resp
}

// Do makes an ordinary request with a JSON body, if any.
func (s *Site) Do(t testing.TB, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}
