// Server is a small program for images of tests: it listens on all addresses at
// $PORT, or does what its first argument says.
//
//	exit N TEXT…    writes TEXT, a line each, and ends at once with status N
//	stubborn        listens, and ignores SIGTERM
//	silent          never listens
//	says TEXT N     writes TEXT N times, a line each, then listens
//	eat BYTES       holds that much memory, then listens
//	spin            keeps one processor busy, and listens
//	terminal        says how large its terminal is, or that it has none
//	copy            writes what it reads
//	sleep           does nothing
//
// Over HTTP: / says hello, /env gives the environment as JSON, /write?path=&bytes=
// writes a file of that many bytes, /read?path= gives one, /ws echoes over a
// WebSocket. Of its limits: /eat?bytes= holds that much memory, /spin?ms= tells the
// milliseconds of processor time that it got, /fork?count= how many processes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/term"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// held keeps what was eaten.
var held []byte

func run(args []string) error {
	word := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch word(0) {
	case "":
	case "exit":
		n, err := strconv.Atoi(word(1))
		if err != nil {
			return err
		}
		for _, line := range args[2:] {
			fmt.Println(line)
		}
		os.Exit(n)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "silent":
		fmt.Println("server: not listening")
		return wait(nil)
	case "terminal":
		if cols, rows, err := term.GetSize(0); err == nil {
			fmt.Printf("terminal of %d x %d\n", cols, rows)
			return nil
		}
		fmt.Println("no terminal")
		return nil
	case "copy":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "sleep":
		return wait(nil)
	case "says":
		n, err := strconv.Atoi(word(2))
		if err != nil {
			return err
		}
		says(word(1), n)
	case "eat":
		n, err := strconv.Atoi(word(1))
		if err != nil {
			return err
		}
		eat(n)
	case "spin":
		go func() {
			for n := 1; ; n = n*3 + 1 {
				runtime.KeepAlive(n)
			}
		}()
	default:
		return fmt.Errorf("no mode %q", word(0))
	}
	return serve()
}

func says(text string, n int) {
	w := bufio.NewWriter(os.Stdout)
	for range n {
		fmt.Fprintln(w, text)
	}
	_ = w.Flush()
}

func eat(n int) {
	held = make([]byte, n)
	for i := 0; i < n; i += os.Getpagesize() {
		held[i] = 1
	}
}

func serve() error {
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	fmt.Println("server: listening on", l.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &http.Server{Handler: routes(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	err = wait(failed)
	cancel()
	_ = s.Close()
	return err
}

// wait returns at SIGTERM, unless that is ignored, or when serving has failed.
func wait(failed <-chan error) error {
	term := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGTERM) {
		signal.Notify(term, syscall.SIGTERM)
	}
	select {
	case <-term:
		return nil
	case err := <-failed:
		return err
	}
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprintln(w, "hello from", os.Getenv("SESSION_BACKEND_ID"))
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		env := map[string]string{}
		for _, e := range os.Environ() {
			name, value, _ := strings.Cut(e, "=")
			env[name] = value
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(env)
	})
	mux.HandleFunc("/write", write)
	mux.HandleFunc("/read", func(w http.ResponseWriter, q *http.Request) {
		b, err := os.ReadFile(q.FormValue("path"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(b)
	})
	limits(mux)
	mux.HandleFunc("/ws", echo)
	return mux
}

func write(w http.ResponseWriter, q *http.Request) {
	n, err := strconv.ParseInt(q.FormValue("bytes"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f, err := os.Create(q.FormValue("path"))
	if err == nil {
		_, err = io.CopyN(f, zeros{}, n)
		if err == nil {
			err = f.Sync()
		}
		_ = f.Close()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
		return
	}
	fmt.Fprintln(w, n)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func echo(w http.ResponseWriter, q *http.Request) {
	c, err := websocket.Accept(w, q, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		kind, b, err := c.Read(q.Context())
		if err != nil {
			return
		}
		if err := c.Write(q.Context(), kind, b); err != nil {
			return
		}
	}
}
