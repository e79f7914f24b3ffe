// Package line is a runtime's line to the warden, which holds what runs: one
// connection, made anew whenever it breaks. Runtimes whose backends the warden
// starts share it.
package line

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"plane/internal/drone/home"
	"plane/internal/drone/warden"
	"plane/internal/runtime"
)

// Dial makes sure that a warden runs and connects to it.
type Dial func(context.Context) (*warden.Client, error)

// Line keeps one connection to the warden and makes a new one when that breaks.
// Safe for concurrent use.
type Line struct {
	dial Dial
	home home.Home
	log  *slog.Logger

	turns

	dialing sync.Mutex // held while a connection is made

	mu     sync.Mutex // guards client
	client *warden.Client
}

// New makes a Line. dial is called for the first connection and after each
// loss. log may be nil.
func New(dial Dial, h home.Home, log *slog.Logger) *Line {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Line{dial: dial, home: h, log: log}
}

// Connect makes the connection if there is none and returns it.
func (l *Line) Connect(ctx context.Context) (*warden.Client, error) {
	if c := l.connected(); c != nil {
		return c, nil
	}
	l.dialing.Lock()
	defer l.dialing.Unlock()
	if c := l.connected(); c != nil {
		return c, nil
	}
	c, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client = c
	return c, nil
}

func (l *Line) connected() *warden.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		return nil
	}
	select {
	case <-l.client.Done():
		return nil
	default:
		return l.client
	}
}

// Instance is that of the warden last connected to, "" before the first
// connection. While it stays the same nothing went unwatched.
func (l *Line) Instance() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		return ""
	}
	return l.client.Instance()
}

// Close lets go of the warden. What runs runs on.
func (l *Line) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		l.client.Close()
	}
}

// Ask does f with a connection, and again with a new one when that is lost:
// all that is asked of a warden may be asked twice.
func (l *Line) Ask(ctx context.Context, f func(*warden.Client) error) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		c, err := l.Connect(ctx)
		if err == nil {
			if err = f(c); !errors.Is(err, warden.ErrLost) {
				return translate(err)
			}
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		l.log.Debug("asking the warden again", "error", err)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

func translate(err error) error {
	switch {
	case errors.Is(err, warden.ErrGone):
		return runtime.ErrGone
	case errors.Is(err, warden.ErrDead):
		return runtime.ErrDead
	}
	return err
}
