package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"plane"
	"plane/internal/api"
	"plane/internal/controller"
	"plane/internal/run"
	"plane/internal/store/sqlite"
)

// listen opens a TCP listener, with a sentence that says what to do if the
// address is taken or not allowed.
func listen(flag, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s %s is taken by another program; choose another port, or 0 for any free one", flag, addr)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("no permission to listen on %s %s; ports below 1024 need root, choose a higher one", flag, addr)
	case errors.As(err, new(*net.DNSError)), errors.As(err, new(*net.AddrError)):
		return nil, misusef("%s %q must be HOST:PORT, with a port from 0 to 65535", flag, addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s %s is no address of this machine", flag, addr)
	}
	return nil, fmt.Errorf("listen on %s %s: %w", flag, addr, err)
}

// requireLoopback refuses any address but a loopback one: without
// certificates and keys, nobody else may reach a part.
func requireLoopback(flag, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return misusef("%s %q must be HOST:PORT", flag, addr)
	}
	if host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return misusef("%s %s isn't a loopback address; --insecure parts listen on 127.0.0.1 or [::1] only", flag, addr)
}

// serve answers HTTP on l with h until ctx is done, then waits at most two
// seconds for what is under way.
func serve(name string, l net.Listener, h http.Handler, log *slog.Logger) run.Part {
	return run.Part{Name: name, Run: func(ctx context.Context) error {
		base, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		s := api.Server(h)
		s.BaseContext = func(net.Listener) context.Context { return base }
		s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
		failed := make(chan error, 1)
		go func() { failed <- s.Serve(l) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		wait, done := context.WithTimeout(base, 2*time.Second)
		defer done()
		if s.Shutdown(wait) != nil {
			cancel() // streams and sockets end with their contexts
			_ = s.Close()
		}
		<-failed
		return nil
	}}
}

// controllerPart is a controller over SQLite, with its API and the operator's socket.
type controllerPart struct {
	*controller.Controller
	db       *sqlite.DB
	api      net.Listener
	operator net.Listener
	handler  *api.API
	log      *slog.Logger
}

// controllerSetup is what dev and controller differ in.
type controllerSetup struct {
	dbPath   string
	operator string // path of the operator's socket
	listener net.Listener
	config   controller.Config
	api      api.Options
	admin    adminPart
}

func openController(ctx context.Context, s controllerSetup, log *slog.Logger) (*controllerPart, error) {
	if err := os.MkdirAll(filepath.Dir(s.dbPath), 0o700); err != nil {
		return nil, aboutFile(err)
	}
	if err := checkRestored(filepath.Dir(s.dbPath)); err != nil {
		return nil, err
	}
	db, err := sqlite.Open(ctx, s.dbPath, sqlite.Options{Log: log, Metrics: sqlite.NewMetrics(s.admin.Registry())})
	if err != nil {
		return nil, err
	}
	s.config.Store, s.config.Log, s.config.Metrics = db, log, controller.NewMetrics(s.admin.Registry())
	c, err := controller.New(ctx, s.config)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	_ = os.Remove(s.operator) // of a process that was killed; the store's lock says that it is gone
	old := syscall.Umask(0o177)
	operator, err := net.Listen("unix", s.operator)
	syscall.Umask(old)
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("listen on the operator's socket: %w", err)
	}
	s.admin.Live("controller", checkWait, c.Alive)
	s.admin.Ready("store", checkWait, storeReady(db))
	s.api.Log = log
	return &controllerPart{
		Controller: c, db: db, api: s.listener, operator: operator, log: log,
		handler: api.New(c, s.api),
	}, nil
}

// parts that run until the controller is told to leave.
func (c *controllerPart) parts() []run.Part {
	return []run.Part{
		{Name: "controller", Run: c.Controller.Run},
		serve("api", c.api, c.handler, c.log),
		serve("operator socket", c.operator, c.handler.Operator(), c.log),
	}
}

func (c *controllerPart) close() { _ = c.db.Close() }

// aboutFile says what to do about a file that can't be used.
func aboutFile(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		switch {
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("no permission for %s; choose another directory with --data-dir, or change its owner", path.Path)
		case errors.Is(err, syscall.ENOSPC):
			return fmt.Errorf("no space left for %s; free some, or choose another directory with --data-dir", path.Path)
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s can't be made there; choose another directory with --data-dir", path.Path)
		case errors.Is(err, syscall.ENOTDIR):
			return fmt.Errorf("%s isn't a directory; choose another one with --data-dir", path.Path)
		}
	}
	return err
}

// clusterFlag reads a cluster name.
func clusterFlag(s string) (plane.ClusterName, error) {
	c := plane.ClusterName(strings.TrimSpace(s))
	if c == "" {
		return "", misusef("--cluster is missing; give the host, or host:port, that end users see")
	}
	if err := c.Check(); err != nil {
		return "", misuse{err}
	}
	return c, nil
}
