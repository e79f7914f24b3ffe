// Command echo is a small server to run as a backend: it answers over HTTP,
// WebSocket and server-sent events, tells what it was started with, and
// misbehaves on request. See its README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == grandchildArg {
		grandchildMain(os.Args[2:])
		return
	}
	o, err := parseOptions(os.Args[1:], os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	s := &server{started: time.Now()}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGINT)
	s.ignoreTerm.Store(o.ignoreTerm)

	if err := o.beforeListening(s); err != nil {
		return err
	}
	if o.neverListen {
		fmt.Println("echo: not listening")
		return s.untilTold(term, nil)
	}
	l, err := o.listener()
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	// Open streams end with this context, not with the listener.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hs := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	go func() { served <- hs.Serve(l) }()
	fmt.Printf("echo: listening on %s, pid %d\n", l.Addr(), os.Getpid())

	err = s.untilTold(term, served)
	cancel()
	shut, done := context.WithTimeout(context.Background(), time.Second)
	defer done()
	_ = hs.Shutdown(shut)
	fmt.Println("echo: bye")
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// untilTold returns at SIGTERM or SIGINT, unless those are ignored, and when
// serving has failed.
func (s *server) untilTold(term <-chan os.Signal, served <-chan error) error {
	for {
		select {
		case err := <-served:
			return err
		case sig := <-term:
			if !s.ignoreTerm.Load() {
				fmt.Printf("echo: %s\n", sig)
				return nil
			}
			fmt.Printf("echo: %s ignored\n", sig)
		}
	}
}

// server is the program's state. It lives in memory only, so that a lost
// process shows.
type server struct {
	started    time.Time
	count      atomic.Int64
	ignoreTerm atomic.Bool
	hog        hog
}
