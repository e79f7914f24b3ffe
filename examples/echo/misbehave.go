package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
)

// exit ends the program with ?code, after ?ms; the answer gets out before.
func (s *server) exit(w http.ResponseWriter, r *http.Request) {
	code := number(r, "code", 0)
	after := time.Duration(number(r, "ms", 20)) * time.Millisecond
	fmt.Fprintln(w, "exiting")
	time.AfterFunc(after, func() { os.Exit(code) })
}

// crash ends the program by ?how: kill (default), abort, panic.
func (s *server) crash(w http.ResponseWriter, r *http.Request) {
	var end func()
	switch how := or(r.URL.Query().Get("how"), "kill"); how {
	case "kill":
		end = func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
	case "abort":
		// Go turns most signals into exit code 2; with this it dies of the signal.
		debug.SetTraceback("crash")
		_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
		end = func() { _ = syscall.Kill(os.Getpid(), syscall.SIGABRT) }
	case "panic":
		end = func() { panic("asked to") }
	default:
		http.Error(w, "how is kill, abort or panic", http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, "crashing")
	time.AfterFunc(20*time.Millisecond, end)
}

// flood writes ?lines of ?size bytes each to standard output.
func (s *server) flood(w http.ResponseWriter, r *http.Request) {
	lines, size := number(r, "lines", 10_000), number(r, "size", 100)
	flood(os.Stdout, lines, size)
	fmt.Fprintln(w, lines)
}

// flood numbers its lines, so that a reader sees what is missing.
func flood(out io.Writer, lines, size int) {
	b := bufio.NewWriterSize(out, 64<<10)
	pad := strings.Repeat(".", max(0, size-len("flood 00000000 \n")))
	for n := range lines {
		fmt.Fprintf(b, "flood %08d %s\n", n+1, pad)
	}
	_ = b.Flush()
}

// hog keeps memory.
type hog struct {
	mu   sync.Mutex // guards the fields below
	kept [][]byte
}

func (h *hog) take(mib int) {
	if mib <= 0 {
		return
	}
	b := make([]byte, mib<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1 // a page that was never written takes no memory
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, b)
}

func (s *server) hogMemory(w http.ResponseWriter, r *http.Request) {
	mib := number(r, "mib", 64)
	s.hog.take(mib)
	fmt.Fprintln(w, mib)
}

// burn uses one processor for ?ms.
func burn(w http.ResponseWriter, r *http.Request) {
	ms := number(r, "ms", 100)
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end); {
		continue
	}
	fmt.Fprintln(w, ms)
}
