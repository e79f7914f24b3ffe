package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Check gives nil, or the reason why not as a sentence that people read.
type Check func(context.Context) error

// checks are asked at once, each with its own time-out. The zero value has none.
type checks struct {
	mu  sync.Mutex // guards all, only to add and to copy
	all []*check
}

// check is asked by at most one goroutine at a time: one that hangs holds one
// goroutine, however often it is looked at.
type check struct {
	name   string
	within time.Duration
	ask    Check

	mu    sync.Mutex // guards the fields below
	asked *question
}

// question is one that is under way.
type question struct {
	since time.Time
	done  chan struct{} // closed after err was written
	err   error
}

func (c *checks) add(name string, within time.Duration, ask Check) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, &check{name: name, within: within, ask: ask})
}

// ServeHTTP answers 200 if every check is fine, else 503, with one line each.
func (c *checks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	all := c.all[:len(c.all):len(c.all)]
	c.mu.Unlock()
	answers := make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { answers[i] = one.answer(r.Context()) })
	}
	wg.Wait()
	var body strings.Builder
	status := http.StatusOK
	for i, err := range answers {
		if err != nil {
			status = http.StatusServiceUnavailable
			_, _ = fmt.Fprintf(&body, "%s: %s\n", all[i].name, oneLine(err.Error()))
			continue
		}
		_, _ = fmt.Fprintf(&body, "%s: ok\n", all[i].name)
	}
	if len(all) == 0 {
		body.WriteString("ok\n")
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body.String()))
}

func (c *check) answer(ctx context.Context) error {
	q := c.question(ctx)
	timer := time.NewTimer(c.within)
	defer timer.Stop()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("no answer for %v", time.Since(q.since).Round(time.Millisecond))
	}
}

// question is the one under way, or a new one.
func (c *check) question(ctx context.Context) *question {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != nil {
		return c.asked
	}
	q := &question{since: time.Now(), done: make(chan struct{})}
	c.asked = q
	go func() {
		// The asker may leave; the next one shares this answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.within)
		defer cancel()
		q.err = c.ask(ctx)
		c.mu.Lock()
		c.asked = nil
		c.mu.Unlock()
		close(q.done)
	}()
	return q
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
