package drone

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"plane"
	"plane/internal/drone/home"
	"plane/internal/runtime"
)

// doors are the sockets of backends, one each, all served by one server.
type doors struct {
	home   home.Home
	log    *slog.Logger
	server *http.Server

	wg   sync.WaitGroup
	mu   sync.Mutex // guards the field below
	open map[plane.BackendID]*door
}

// door is a listener that knows whose it is.
type door struct {
	*net.UnixListener
	runner *runner
}

type doorKey struct{}

func newDoors(h home.Home, log *slog.Logger) *doors {
	return &doors{
		home: h, log: log,
		open: map[plane.BackendID]*door{},
		server: &http.Server{
			Handler:           socketRoutes(),
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
			BaseContext: func(l net.Listener) context.Context {
				d, _ := l.(*door)
				return context.WithValue(context.Background(), doorKey{}, d)
			},
		},
	}
}

// add opens the socket of a runner's backend and gives its path. It is there
// before the backend starts; a second call changes nothing. Not for a backend
// whose deadline has passed: its executioner has removed the directory, so that
// an engine which wakes late can't start what is mounted from it.
func (d *doors) add(r *runner) (string, error) {
	at, err := d.path(r)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[r.id] != nil {
		return at, nil
	}
	// Left over from an agent before this one: the lock on the data directory
	// says that nobody listens there.
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return "", err
	}
	l.SetUnlinkOnClose(false) // a restart of the agent leaves the path
	_ = os.Chmod(at, r.doorMode())
	x := &door{l, r}
	d.open[r.id] = x
	d.wg.Go(func() {
		if err := d.server.Serve(x); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			d.log.Warn("socket of a backend failed", "backend", r.id, "error", err)
		}
	})
	return at, nil
}

// remove closes a socket and its path for good.
func (d *doors) remove(id plane.BackendID) {
	d.mu.Lock()
	x := d.open[id]
	delete(d.open, id)
	d.mu.Unlock()
	if x != nil {
		_ = x.Close()
	}
	_ = os.Remove(d.home.BackendSocket(id))
	_ = os.RemoveAll(d.home.DoorDir(id))
}

// path is where a backend's socket lies: that of an image in a directory of its
// own, which it sees as runtime.DoorsDir.
func (d *doors) path(r *runner) (string, error) {
	if r.exec.Kind() != plane.KindImage {
		return d.home.BackendSocket(r.id), nil
	}
	dir := d.home.DoorDir(r.id)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // whatever our umask is
		return "", err
	}
	return filepath.Join(dir, path.Base(runtime.Socket)), nil
}

// doorMode lets whatever user an image runs as use its socket: nobody else gets
// to the directory that it lies in.
func (r *runner) doorMode() os.FileMode {
	if r.exec.Kind() == plane.KindImage {
		return 0o666
	}
	return 0o600
}

// close ends the server and leaves the paths.
func (d *doors) close() {
	_ = d.server.Close()
	d.mu.Lock()
	for _, x := range d.open {
		_ = x.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}
