package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

//go:embed page.html
var page []byte

func (s *server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	m.HandleFunc("GET /pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, os.Getpid()) })
	m.HandleFunc("GET /env", showEnv)
	m.HandleFunc("/headers", showHeaders)
	m.HandleFunc("GET /state", s.showState)
	m.HandleFunc("POST /state", func(w http.ResponseWriter, r *http.Request) { s.count.Add(1); s.showState(w, r) })
	m.HandleFunc("GET /ws", s.webSocket)
	m.HandleFunc("GET /sse", s.events)
	m.HandleFunc("GET /slow", slow)
	m.HandleFunc("GET /status", status)
	m.HandleFunc("GET /source", source)
	m.HandleFunc("POST /sink", sink)

	m.HandleFunc("POST /exit", s.exit)
	m.HandleFunc("POST /crash", s.crash)
	m.HandleFunc("POST /flood", s.flood)
	m.HandleFunc("POST /hog", s.hogMemory)
	m.HandleFunc("POST /burn", burn)
	m.HandleFunc("POST /grandchild", s.grandchild)
	m.HandleFunc("POST /ignore-term", func(http.ResponseWriter, *http.Request) { s.ignoreTerm.Store(true) })

	m.HandleFunc("POST /hold", hold)
	m.HandleFunc("DELETE /hold", unhold)
	m.HandleFunc("GET /self", self)
	m.HandleFunc("/", echo)
	return m
}

// echo answers with the body it was sent, or says what it was asked; browsers
// get a page.
func echo(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Body != nil && r.ContentLength != 0:
		if t := r.Header.Get("Content-Type"); t != "" {
			w.Header().Set("Content-Type", t)
		}
		// Both ways at once: what has arrived is answered before the rest has.
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(flushing{w}, r.Body)
	case r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html"):
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	default:
		fmt.Fprintf(w, "%s %s from key %q, generation %s, pid %d\n", r.Method, r.URL.RequestURI(),
			os.Getenv("SESSION_BACKEND_KEY"), or(os.Getenv("SESSION_BACKEND_FENCING_TOKEN"), "-"), os.Getpid())
	}
}

type flushing struct{ http.ResponseWriter }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(f.ResponseWriter).Flush()
}

func (s *server) showState(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]any{"pid": os.Getpid(), "started_ms": s.started.UnixMilli(), "count": s.count.Load()})
}

func showEnv(w http.ResponseWriter, _ *http.Request) {
	env := map[string]string{}
	for _, e := range os.Environ() {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	writeJSON(w, env)
}

func showHeaders(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, map[string]any{
		"method": r.Method, "uri": r.URL.RequestURI(), "host": r.Host, "proto": r.Proto,
		"remote": r.RemoteAddr, "headers": r.Header,
	})
}

// events sends a numbered event each ?every (100ms), ?count of them (no end).
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	every, err := time.ParseDuration(or(r.URL.Query().Get("every"), "100ms"))
	if err != nil || every <= 0 {
		http.Error(w, "every is no duration", http.StatusBadRequest)
		return
	}
	count := number(r, "count", 0)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	t := time.NewTicker(every)
	defer t.Stop()
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(flushing{w}, "id: %d\ndata: %d\n\n", n, n); err != nil || n == count {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-t.C:
		}
	}
}

// slow answers after ?ms.
func slow(w http.ResponseWriter, r *http.Request) {
	t := time.NewTimer(time.Duration(number(r, "ms", 1000)) * time.Millisecond)
	defer t.Stop()
	select {
	case <-r.Context().Done():
	case <-t.C:
		fmt.Fprintln(w, "at last")
	}
}

// status answers with ?code.
func status(w http.ResponseWriter, r *http.Request) {
	code := number(r, "code", 200)
	if code < 200 || code > 999 {
		code = http.StatusBadRequest
	}
	w.WriteHeader(code)
}

// source sends ?bytes zeros, sink counts what it gets.
func source(w http.ResponseWriter, r *http.Request) {
	n := number(r, "bytes", 1<<20)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(n))
	_, _ = io.CopyN(w, zeros{}, int64(n))
}

func sink(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, n)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// number is the query's value of name, or otherwise.
func number(r *http.Request, name string, otherwise int) int {
	if n, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
		return n
	}
	return otherwise
}
