// Package whiteboard is a shared drawing as a backend: one process per key,
// its state in memory, each stroke on disk before its author is told that it
// is saved. It is an example of a program that Plane runs, and what `plane
// dev` serves when it is given nothing else; it uses nothing of Plane.
package whiteboard

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Main is the program: it serves until ctx is done, and has then saved
// everything. Args are the command line's without the program's name.
func Main(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("whiteboard", flag.ContinueOnError)
	listen := flags.String("listen", net.JoinHostPort(env("HOST", "127.0.0.1"), env("PORT", "8000")), "`address` to serve on; default $HOST:$PORT")
	data := flags.String("data-dir", os.Getenv("SESSION_BACKEND_DATA_DIR"), "`directory` that keeps the drawing; default $SESSION_BACKEND_DATA_DIR, without one it is in memory only")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	s, err := Open(*data, backend())
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), s.journal.close())
	}
	fmt.Printf("whiteboard: %s, %s, listening on %s\n", s.backend.Key, s.welcome(), l.Addr())
	return s.Run(ctx, l)
}

// Backend is what Plane tells a program of itself.
type Backend struct {
	Key        string
	Generation int64 // rises with each process of the key; 0 = not run by Plane
}

func backend() Backend {
	// Without Plane there is none.
	generation, _ := strconv.ParseInt(os.Getenv("SESSION_BACKEND_FENCING_TOKEN"), 10, 64)
	return Backend{Key: env("SESSION_BACKEND_KEY", "whiteboard"), Generation: generation}
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// Server is one whiteboard.
type Server struct {
	backend Backend
	journal *journal
	room    *room
}

// Open reads the drawing from dir, which is made if it isn't there. An empty
// dir keeps the drawing in memory only.
func Open(dir string, b Backend) (*Server, error) {
	j, board, err := openJournal(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{backend: b, journal: j}
	s.room = newRoom(board, j, hello{
		Type: "hello", Key: b.Key, Generation: b.Generation, Durable: dir != "", Restored: board.N > 0, Limits: bounds,
	})
	return s, nil
}

// welcome says where the drawing comes from.
func (s *Server) welcome() string {
	switch {
	case s.room.hello.Restored:
		return fmt.Sprintf("%d strokes restored", len(s.room.board.Strokes))
	case s.room.hello.Durable:
		return "a new drawing"
	}
	return "a new drawing, kept in memory only"
}

// Run serves on l until ctx is done or the drawing can't be saved, and closes l.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	roomEnded := make(chan error, 1)
	go func() {
		err := s.room.run(ctx)
		cancel(err)
		roomEnded <- err
	}()
	web := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		// Visitors' sockets outlive ctx until they have been told what is saved.
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	webEnded := make(chan error, 1)
	go func() {
		err := web.Serve(l)
		cancel(err)
		webEnded <- err
	}()
	<-ctx.Done()
	err := <-roomEnded // everything accepted is on disk
	s.room.visitors.Wait()
	shut, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	_ = web.Shutdown(shut)
	if e := <-webEnded; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return errors.Join(err, s.journal.close())
}
