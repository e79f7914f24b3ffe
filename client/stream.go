package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"plane"
)

// Follow gives the statuses of a backend that are later than after ("" = all)
// to each, in order and once, and returns nil after terminated. It connects again as
// long as ctx lasts. An error of each ends it and is returned.
func (c *Client) Follow(ctx context.Context, id plane.BackendID, after plane.Status, each func(StatusEntry) error) error {
	return c.FollowProgress(ctx, id, after, each, nil)
}

// FollowProgress is Follow, and gives to tell how far the preparation of the
// backend has come, while it lasts: the latest at first, then at most a few times
// a second. Both are called one at a time. A controller of before there was any
// tells nothing.
func (c *Client) FollowProgress(ctx context.Context, id plane.BackendID, after plane.Status, each func(StatusEntry) error, tell func(Progress) error) error {
	path, query := "/pub/b/"+segment(string(id))+"/status-stream", url.Values{}
	if tell != nil {
		query.Set("progress", "1")
	}
	take := func(m sent) error {
		var e StatusEntry
		switch m.name {
		case "":
		case "progress":
			var p Progress
			if json.Unmarshal(m.data, &p) != nil || tell == nil {
				return nil
			}
			if err := tell(p); err != nil {
				return stop{err}
			}
			return nil
		default:
			return nil // not known to this version
		}
		if err := json.Unmarshal(m.data, &e); err != nil || e.Status.Order() <= after.Order() {
			return nil // not known to this version, or a repetition
		}
		after = e.Status
		if err := each(e); err != nil {
			return stop{err}
		}
		if e.Status == plane.Terminated {
			return stop{nil}
		}
		return nil
	}
	return c.again(ctx, func() error {
		if after == plane.Terminated {
			return stop{nil}
		}
		return c.stream(ctx, path, query, string(after), take)
	})
}

// WaitReady returns nil once the backend is ready, and *Ended if it ended
// without.
func (c *Client) WaitReady(ctx context.Context, id plane.BackendID) error {
	err := c.Follow(ctx, id, "", func(e StatusEntry) error {
		switch {
		case e.Status == plane.Ready:
			return errReady
		case e.Status.Ending():
			return &Ended{Backend: id, Entry: e}
		}
		return nil
	})
	if errors.Is(err, errReady) {
		return nil
	}
	return err
}

var errReady = errors.New("ready")

// WaitEnded returns the last status once nothing is left of the backend.
func (c *Client) WaitEnded(ctx context.Context, id plane.BackendID) (StatusEntry, error) {
	var last StatusEntry
	err := c.Follow(ctx, id, "", func(e StatusEntry) error {
		last = e
		return nil
	})
	return last, err
}

// Events gives the entries of the log after seq to each, in order.
func (c *Client) Events(ctx context.Context, seq int64, each func(Event) error) error {
	resp, err := c.send(ctx, http.MethodGet, "/ctrl/events", since(seq), nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	for d := json.NewDecoder(resp.Body); ; {
		var e Event
		err := d.Decode(&e)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &BadAnswer{Err: err}
		}
		if err := each(e); err != nil {
			return err
		}
	}
}

// FollowEvents is Events, and goes on until ctx ends; it connects again.
func (c *Client) FollowEvents(ctx context.Context, seq int64, each func(Event) error) error {
	return c.again(ctx, func() error {
		q := since(seq)
		q.Set("follow", "1")
		return c.stream(ctx, "/ctrl/events", q, "", func(m sent) error {
			var e Event
			if err := json.Unmarshal(m.data, &e); err != nil || e.Seq <= seq {
				return nil
			}
			seq = e.Seq
			if err := each(e); err != nil {
				return stop{err}
			}
			return nil
		})
	})
}

// Logs is the last tail lines of a backend's output (0 = all that is kept).
// The caller closes it.
func (c *Client) Logs(ctx context.Context, id plane.BackendID, tail int) (io.ReadCloser, error) {
	resp, err := c.send(ctx, http.MethodGet, "/ctrl/b/"+segment(string(id))+"/logs", tailQuery(tail), nil, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// FollowLogs gives the last tail lines of a backend's output, and all that
// follow, to each, until the backend ends. It does not connect again: lines
// have no numbers.
func (c *Client) FollowLogs(ctx context.Context, id plane.BackendID, tail int, each func(line string) error) error {
	q := tailQuery(tail)
	q.Set("follow", "1")
	err := c.stream(ctx, "/ctrl/b/"+segment(string(id))+"/logs", q, "", func(m sent) error {
		if err := each(string(m.data)); err != nil {
			return stop{err}
		}
		return nil
	})
	var s stop
	if errors.As(err, &s) {
		return s.err
	}
	return err
}

func tailQuery(tail int) url.Values {
	q := url.Values{}
	if tail > 0 {
		q.Set("tail", strconv.Itoa(tail))
	}
	return q
}

// stop ends a stream for good.
type stop struct{ err error }

func (s stop) Error() string { return fmt.Sprintf("stream stopped: %v", s.err) }

const (
	firstPause  = 100 * time.Millisecond
	longestWait = 5 * time.Second
)

// again repeats attempt with growing pauses until it is stopped, ctx ends or
// the controller refuses.
func (c *Client) again(ctx context.Context, attempt func() error) error {
	pause := firstPause
	for {
		begun := time.Now()
		err := attempt()
		var s stop
		var f *Failure
		switch {
		case errors.As(err, &s):
			return s.err
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &f) && f.Err.Status < 500:
			return err
		}
		if time.Since(begun) > longestWait {
			pause = firstPause
		}
		t := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		pause = min(2*pause, longestWait)
	}
}

// silence is how long a stream may say nothing, not even a comment.
const silence = 45 * time.Second

// stream reads one stream of server-sent events to its end.
func (c *Client) stream(outer context.Context, path string, query url.Values, lastID string, take func(sent) error) error {
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	header := http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-cache"}}
	if lastID != "" {
		header.Set("Last-Event-ID", lastID)
	}
	resp, err := c.send(ctx, http.MethodGet, path, query, nil, header)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	err = readEvents(resp.Body, func() { watchdog.Reset(silence) }, take)
	if err != nil && !errors.As(err, new(stop)) {
		return unreachable(outer, err)
	}
	return err
}

// sent is one server-sent event.
type sent struct {
	name string // "" = of no name
	data []byte // good until the next one
	id   string // the last one that was given
}

// readEvents reads events in the form of the WHATWG's HTML standard, section
// 9.2, without "retry".
func readEvents(r io.Reader, alive func(), take func(sent) error) error {
	lines := bufio.NewReaderSize(r, 32<<10)
	var data bytes.Buffer
	var m sent
	some := false
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		alive()
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			if some {
				m.data = bytes.TrimSuffix(data.Bytes(), []byte("\n"))
				if err := take(m); err != nil {
					return err
				}
			}
			data.Reset()
			m.name, some = "", false
			continue
		}
		name, v, _ := strings.Cut(line, ":")
		v = strings.TrimPrefix(v, " ")
		switch name {
		case "data":
			some = true
			data.WriteString(v)
			data.WriteByte('\n')
		case "event":
			m.name = v
		case "id":
			m.id = v
		}
	}
}
