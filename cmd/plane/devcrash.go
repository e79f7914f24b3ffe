package main

import (
	"context"
	"time"

	"plane"
	"plane/internal/controller"
)

const (
	crashLooks = 5 * time.Second // for the end to be recorded
	crashQueue = 64
)

// crashWatch tells when Plane gives a key up for a while, because its program
// ends again and again.
type crashWatch struct {
	controller *controller.Controller
	show       *console
	ends       chan ended
}

type ended struct {
	key     plane.Key
	backend plane.BackendID
}

func newCrashWatch(c *controller.Controller, show *console) *crashWatch {
	return &crashWatch{controller: c, show: show, ends: make(chan ended, crashQueue)}
}

// look is called at the end of a backend. It doesn't wait.
func (w *crashWatch) look(key plane.Key, backend plane.BackendID) {
	select {
	case w.ends <- ended{key, backend}:
	default: // so many at once: the lines of the others say enough
	}
}

func (w *crashWatch) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.ends:
			w.tell(ctx, e)
		}
	}
}

// tell looks until the controller has recorded the end.
func (w *crashWatch) tell(ctx context.Context, e ended) {
	ctx, cancel := context.WithTimeout(ctx, crashLooks)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		x, err := w.controller.Explain(ctx, operator, e.key.Namespace, e.key.Name)
		if err == nil && w.recorded(x, e.backend) {
			if c := x.Crash; c != nil && c.RetryIn > 0 {
				w.show.gaveUp(e.key, e.backend, *c, time.Now().Add(time.Duration(c.RetryIn)*time.Second))
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *crashWatch) recorded(x controller.Explanation, id plane.BackendID) bool {
	for _, p := range x.History {
		if p.Backend == id {
			return p.Status == plane.Terminated
		}
	}
	return false
}
