// Command backend is the backend of chaos tests. It and a grandchild in a
// session of its own write a sign of life every 5 ms; it tells whoever asks
// which generation it is.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"plane/internal/clustertest/overlap"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	role := overlap.Parent
	if len(os.Args) > 1 {
		role = overlap.Grandchild
	}
	key := overlap.KeyHash(os.Getenv("SESSION_BACKEND_NAMESPACE"), os.Getenv("SESSION_BACKEND_KEY"))
	generation, err := strconv.ParseInt(os.Getenv("SESSION_BACKEND_FENCING_TOKEN"), 10, 64)
	if err != nil {
		return fmt.Errorf("read fencing token: %w", err)
	}
	file, err := overlap.Open(os.Getenv(overlap.Env))
	if err != nil {
		return err
	}
	beat, err := file.Begin(key, generation, role)
	if err != nil {
		return err
	}
	if role == overlap.Grandchild {
		live(beat)
	}
	go live(beat)
	child := exec.Command(os.Args[0], "grandchild")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of reach of a kill of the group
	if err := child.Start(); err != nil {
		return err
	}
	return serve(generation)
}

func live(b overlap.Beat) {
	for {
		time.Sleep(5 * time.Millisecond)
		b.Touch()
	}
}

// serve answers until SIGTERM. It leaves the grandchild behind: making that
// absent is Plane's business.
func serve(generation int64) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	self := map[string]any{"backend_id": os.Getenv("SESSION_BACKEND_ID"), "generation": generation, "pid": os.Getpid()}
	server := &http.Server{Addr: net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT")), ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(self)
	})}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	err := server.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
